"""The leader's work: evaluate every endpoint once a tick, and at once where a gateway holds requests."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from nats.js import JetStreamContext
from prometheus_client import Counter, Gauge, Histogram

from model_engine_autoscaler.backlog import read_backlogs, read_oldest_ages
from model_engine_autoscaler.domain.demand import Demand
from model_engine_autoscaler.domain.policy import Decision, Load, Target, Windows, decide
from model_engine_autoscaler.fleet import Fleet, Member
from model_engine_contracts.endpoint_states import EndpointType
from model_engine_contracts.events import Event, ScalingDecided, new_event
from model_engine_runtime.errors import RuntimeProtocolError, StaleLeader
from model_engine_runtime.protocol import Runtime

log = logging.getLogger(__name__)

DECISIONS = Counter("modelengine_autoscaler_decisions", "Changes of the number of workers.", ["why"])
TICK_SECONDS = Histogram("modelengine_autoscaler_tick_seconds", "Time of one evaluation of every endpoint.")
ENDPOINTS = Gauge("modelengine_autoscaler_endpoints", "Endpoints that this leader scales.")


@dataclass(slots=True)
class Scaler:
    """Carries decisions out. `epoch` is the leader's lease epoch, which the runtime fences with."""

    fleet: Fleet
    demand: Demand
    windows: Windows
    runtime: Runtime
    js: JetStreamContext
    publish: Callable[[Event[Any]], Awaitable[object]]
    epoch: int

    async def tick(self) -> None:
        """Evaluate every endpoint. A backlog that cannot be read leaves the async endpoints as they are."""
        with TICK_SECONDS.time():
            now = monotonic()
            self.demand.sample(now)
            backlogs = await read_backlogs(self.js)
            queued = [member for member in self._queues() if backlogs and backlogs.get(member.endpoint_id)]
            ages = await read_oldest_ages(self.js, (member.endpoint_id for member in queued))
            for member in list(self.fleet.members.values()):
                if member.target is not None and member.scalable:
                    backlog = None if backlogs is None else backlogs.get(member.endpoint_id, 0)
                    age = ages.get(member.endpoint_id)
                    await self._evaluate(member, member.target, self._load(member, member.target, backlog, age, now))
            ENDPOINTS.set(len(self.fleet.members))

    async def wake(self, endpoint_id: str) -> None:
        """A gateway has work for an endpoint without a worker: bring the first one now, not at the next tick."""
        member = self.fleet.members.get(endpoint_id)
        if member is None or member.target is None or not member.scalable or member.current(monotonic()) > 0:
            return
        await self._evaluate(member, member.target, Load(waiting=1, backlog=1))

    def _queues(self) -> list[Member]:
        return [
            member
            for member in self.fleet.members.values()
            if member.target is not None and member.target.endpoint_type is EndpointType.ASYNC
        ]

    def _load(self, member: Member, target: Target, backlog: int | None, age: float | None, now: float) -> Load:
        if target.endpoint_type is EndpointType.ASYNC:
            return Load(backlog=backlog, oldest_age=age)
        return Load(
            stable_concurrency=self.demand.mean(member.endpoint_id, self.windows.stable, now),
            panic_concurrency=self.demand.mean(member.endpoint_id, self.windows.panic, now),
            waiting=self.demand.waiting(member.endpoint_id, now),
        )

    async def _evaluate(self, member: Member, target: Target, load: Load) -> None:
        now = monotonic()
        current = member.current(now)
        decision = decide(target, load, current, member.memory, self.windows, now)
        member.memory = decision.memory
        if decision.workers == current:
            return
        await self._carry_out(member, current, decision, now)

    async def _carry_out(self, member: Member, current: int, decision: Decision, now: float) -> None:
        try:
            await self.runtime.scale(member.endpoint_id, decision.workers, self.epoch)
        except StaleLeader:
            raise
        except RuntimeProtocolError as error:
            log.warning("scaling failed", extra={"endpoint": member.endpoint_id, "error": repr(error)})
            return
        member.ordered, member.ordered_at = decision.workers, now
        DECISIONS.labels(decision.why.value).inc()
        log.info(
            "scaled",
            extra={"endpoint": member.endpoint_id, "from": current, "to": decision.workers, "why": decision.why.value},
        )
        fact = ScalingDecided(
            endpoint_id=member.endpoint_id,
            epoch=self.epoch,
            from_workers=current,
            to_workers=decision.workers,
            reason=decision.why.value,
            inputs=decision.inputs,
        )
        await self.publish(new_event(fact, source="autoscaler"))
