"""What this builder sees of the runtime: the last word of its watch about everything."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime

from model_engine_runtime.protocol import Change, Gone, Preparation, SetState, Snapshot

REMEMBERED_GONE = 10_000


@dataclass(frozen=True, slots=True)
class EndpointView:
    """What is seen of one endpoint. `trouble` says why the runtime is not seen now, since `trouble_since`.

    `gone_at` is when the runtime said last that nothing is left of it. `queue` is whether its durable exists; None
    where that is not known, and for endpoints without a queue.
    """

    trouble: str | None = None
    trouble_since: datetime | None = None
    workers: SetState | None = None
    gone_at: datetime | None = None
    preparation: Preparation | None = None
    queue: bool | None = None


@dataclass(slots=True)
class RuntimeView:
    """Fed with the watch. A runtime that belongs to another installation is not to be touched: that is a trouble."""

    installation: str
    trouble: str | None
    trouble_since: datetime | None
    claimed_by: str | None = None
    sets: dict[str, SetState] = field(default_factory=dict)
    preparations: dict[str, Preparation] = field(default_factory=dict)
    gone: OrderedDict[str, datetime] = field(default_factory=OrderedDict)

    def record(self, item: Snapshot | Change, now: datetime) -> None:
        """Take an item of the watch."""
        if isinstance(item, Snapshot):
            self.sets = {state.endpoint_id: state for state in item.sets}
            self.preparations = {preparation.key: preparation for preparation in item.preparations}
            self.claimed_by = item.installation
        elif isinstance(item, SetState):
            self.sets[item.endpoint_id] = item
        elif isinstance(item, Preparation):
            self.preparations[item.key] = item
        elif isinstance(item, Gone):
            self.sets.pop(item.id, None)
            self.preparations.pop(item.id, None)
            self.gone[item.id] = now
            self.gone.move_to_end(item.id)
            if len(self.gone) > REMEMBERED_GONE:
                self.gone.popitem(last=False)
        if self.sets and self.claimed_by not in (None, self.installation):
            self.report_trouble("the runtime belongs to another installation and runs its workers", now)
        else:
            self.trouble = self.trouble_since = None

    def record_refusal(self, message: str, now: datetime) -> None:
        """An apply was refused because another installation has claimed the runtime since its last snapshot."""
        self.claimed_by = ""
        self.report_trouble(message, now)

    def forget_preparation(self, key: str) -> None:
        """A call has shown that this environment is not there any more."""
        self.preparations.pop(key, None)

    def record_answer(self, preparation: Preparation) -> None:
        """Take the answer to a call, which may be older than what the watch has said since."""
        known = self.preparations.get(preparation.key)
        if known is None or known.changed_at < preparation.changed_at:
            self.preparations[preparation.key] = preparation

    def report_trouble(self, trouble: str, now: datetime) -> None:
        """The runtime is not seen; what was seen last is held."""
        self.trouble = trouble
        self.trouble_since = self.trouble_since or now

    def of(self, endpoint_id: str, environment_key: str | None, queue: bool | None) -> EndpointView:
        """What is seen of one endpoint."""
        return EndpointView(
            trouble=self.trouble,
            trouble_since=self.trouble_since,
            workers=self.sets.get(endpoint_id),
            gone_at=self.gone.get(endpoint_id),
            preparation=None if environment_key is None else self.preparations.get(environment_key),
            queue=queue,
        )
