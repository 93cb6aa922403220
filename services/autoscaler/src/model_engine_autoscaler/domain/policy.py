"""The scaling policy: from what an endpoint wants and what was measured to the number of workers, with the reason.

Sync and streaming follow concurrency as Knative's autoscaler does (stable and panic window); async follows the backlog
and the age of the oldest task. Both hold a scale-down back until the demand has been low for a whole window, and go to
zero only after a further grace.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil
from typing import Any

from model_engine_contracts.endpoint_states import EndpointType


class Why(StrEnum):
    """Stable reasons of a decision."""

    BELOW_MINIMUM = "BELOW_MINIMUM"
    ABOVE_MAXIMUM = "ABOVE_MAXIMUM"
    DISABLED = "DISABLED"
    FROM_ZERO = "FROM_ZERO"
    ROLLOUT = "ROLLOUT"
    CONCURRENCY = "CONCURRENCY"
    PANIC = "PANIC"
    BACKLOG = "BACKLOG"
    OLDEST_AGE = "OLDEST_AGE"
    TO_ZERO = "TO_ZERO"
    HELD_BY_WINDOW = "HELD_BY_WINDOW"
    NO_DATA = "NO_DATA"
    STEADY = "STEADY"


@dataclass(frozen=True, slots=True)
class Windows:
    """Times of the policy in seconds. `panic_threshold`: demand over capacity at which the panic window takes over."""

    stable: float = 60.0
    panic: float = 6.0
    zero_grace: float = 30.0
    cooldown: float = 60.0
    oldest_age: float = 30.0
    panic_threshold: float = 2.0


@dataclass(frozen=True, slots=True)
class Target:
    """What the endpoint asks for. `rolling_out`: its newest generation has not answered yet."""

    endpoint_type: EndpointType
    min_workers: int
    max_workers: int
    per_worker: int
    rolling_out: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured. Concurrency is a mean over its window; None means that it could not be read.

    `waiting`: requests held because no worker is there. `backlog`: queued tasks and those being worked on.
    `oldest_age`: seconds since the oldest of them was queued, None when there is none.
    """

    stable_concurrency: float = 0.0
    panic_concurrency: float = 0.0
    waiting: int = 0
    backlog: int | None = 0
    oldest_age: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What the policy remembers of an endpoint between ticks; times are of the caller's monotonic clock.

    `recent`: the recommendations of the last window as (time, workers), rising in time and falling in workers, so that
    the first is the highest. `busy_at`: when there was any demand last. `panic_until`, `panic_workers`: the panic mode.
    `aged_at`: when a worker was added last because the oldest task is old.
    """

    recent: tuple[tuple[float, int], ...] = ()
    busy_at: float | None = None
    panic_until: float | None = None
    panic_workers: int = 0
    aged_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of workers, why, and the figures that it came from."""

    workers: int
    why: Why
    inputs: dict[str, Any]
    memory: Memory


def decide(target: Target, load: Load, current: int, memory: Memory, windows: Windows, now: float) -> Decision:
    """How many workers the endpoint should have now. `current` is the number asked for so far; `now` in seconds."""
    if target.max_workers == 0:
        return Decision(0, Why.DISABLED, {"max_workers": 0}, Memory())
    if target.endpoint_type is EndpointType.ASYNC:
        wanted, why, inputs, memory = _async_wanted(target, load, current, memory, windows, now)
    else:
        wanted, why, inputs, memory = _concurrency_wanted(target, load, current, memory, windows, now)
    inputs |= {"current": current, "min_workers": target.min_workers, "max_workers": target.max_workers}

    busy = why is Why.NO_DATA or _is_busy(load)
    memory = replace(memory, busy_at=now if busy or memory.busy_at is None else memory.busy_at)
    if target.rolling_out and wanted < 1:
        wanted, why = 1, Why.ROLLOUT
        memory = replace(memory, busy_at=now)
    wanted, why, memory = _hold(wanted, why, current, memory, _down_window(target, windows), now)
    if wanted == 0 and current > 0 and not _zero_is_due(memory, target, windows, now):
        wanted, why = 1, Why.HELD_BY_WINDOW
    return _clamp(target, wanted, why, current, inputs, memory)


def _is_busy(load: Load) -> bool:
    return bool(load.waiting or load.backlog or load.panic_concurrency > 0)


def _down_window(target: Target, windows: Windows) -> float:
    return windows.cooldown if target.endpoint_type is EndpointType.ASYNC else windows.stable


def _zero_is_due(memory: Memory, target: Target, windows: Windows, now: float) -> bool:
    idle_since = now if memory.busy_at is None else memory.busy_at
    return now - idle_since >= _down_window(target, windows) + windows.zero_grace


_Wanted = tuple[int, Why, dict[str, Any], Memory]


def _async_wanted(target: Target, load: Load, current: int, memory: Memory, windows: Windows, now: float) -> _Wanted:
    inputs: dict[str, Any] = {"backlog": load.backlog, "oldest_age": load.oldest_age, "per_worker": target.per_worker}
    if load.backlog is None:
        return current, Why.NO_DATA, inputs, memory
    wanted = ceil(load.backlog / target.per_worker)
    why = Why.FROM_ZERO if wanted and not current else Why.BACKLOG
    is_old = load.oldest_age is not None and load.oldest_age > windows.oldest_age
    if not is_old or load.backlog <= current:
        return wanted, why, inputs, replace(memory, aged_at=None)
    # One more worker per `oldest_age` seconds while the oldest task stays old: a queue whose tasks are long needs more
    # workers than its length says, but each of them must get the time to show its effect.
    step_due = memory.aged_at is None or now - memory.aged_at >= windows.oldest_age
    with_age = current + 1 if step_due else current
    memory = replace(memory, aged_at=now) if step_due else memory
    return (with_age, Why.OLDEST_AGE, inputs, memory) if with_age > wanted else (wanted, why, inputs, memory)


def _concurrency_wanted(
    target: Target, load: Load, current: int, memory: Memory, windows: Windows, now: float
) -> _Wanted:
    inputs: dict[str, Any] = {
        "stable_concurrency": round(load.stable_concurrency, 3),
        "panic_concurrency": round(load.panic_concurrency, 3),
        "waiting": load.waiting,
        "per_worker": target.per_worker,
    }
    stable = ceil(load.stable_concurrency / target.per_worker)
    panic = ceil(load.panic_concurrency / target.per_worker)
    if not current:
        held = ceil(load.waiting / target.per_worker)
        return max(stable, panic, held), Why.FROM_ZERO, inputs, memory
    if panic > stable and panic >= windows.panic_threshold * current:
        workers = max(panic, memory.panic_workers)
        memory = replace(memory, panic_until=now + windows.stable, panic_workers=workers)
    if memory.panic_until is None:
        return stable, Why.CONCURRENCY, inputs, memory
    if now >= memory.panic_until:
        return stable, Why.CONCURRENCY, inputs, replace(memory, panic_until=None, panic_workers=0)
    # In panic the number of workers only rises.
    workers = max(panic, memory.panic_workers, current)
    return workers, Why.PANIC, inputs, replace(memory, panic_workers=workers)


def _hold(wanted: int, why: Why, current: int, memory: Memory, window: float, now: float) -> tuple[int, Why, Memory]:
    """Scale up at once; scale down only to the highest recommendation of the window."""
    # An empty memory (a new leader) starts from what is there: nobody knows what the demand was a minute ago.
    recent = memory.recent or ((now, current),)
    kept = [(at, workers) for at, workers in recent if now - at < window and workers > wanted]
    memory = replace(memory, recent=(*kept, (now, wanted)))
    highest = memory.recent[0][1]
    if wanted >= current or highest <= wanted:
        return wanted, why, memory
    held = min(highest, current)
    return held, Why.HELD_BY_WINDOW if held > wanted else why, memory


def _clamp(target: Target, wanted: int, why: Why, current: int, inputs: dict[str, Any], memory: Memory) -> Decision:
    floor = max(target.min_workers, 1) if target.rolling_out else target.min_workers
    workers = min(max(wanted, floor), target.max_workers)
    if workers == current:
        return Decision(workers, Why.STEADY if why is not Why.NO_DATA else why, inputs, memory)
    if workers > wanted:
        why = Why.ROLLOUT if target.rolling_out and target.min_workers < 1 else Why.BELOW_MINIMUM
    elif workers < wanted and workers < current:
        why = Why.ABOVE_MAXIMUM
    elif workers == 0:
        why = Why.TO_ZERO
    return Decision(workers, why, inputs, memory)
