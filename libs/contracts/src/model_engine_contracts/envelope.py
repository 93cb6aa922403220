"""The envelope of every event: the attributes of CloudEvents 1.0 around one versioned Pydantic model.

Specification: CloudEvents 1.0, JSON format. `owner`, `traceparent`, `sequence` and `position` are extension attributes.
"""

from datetime import UTC, datetime
from typing import ClassVar, Generic, Literal, TypeVar, cast
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field


class EventData(BaseModel):
    """Base of what an event says. A subclass names its type once and never changes its meaning within a major.

    `AGGREGATE` and `VERB` make the type (`modelengine.<aggregate>.<verb>.v<MAJOR>`) and the subject; `ENTITY` is the
    field that holds the id of the entity the event is about. `HISTORY` events are written by the gateway into the
    history that users subscribe to; the others are facts between services.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    AGGREGATE: ClassVar[str]
    VERB: ClassVar[str]
    MAJOR: ClassVar[int] = 1
    ENTITY: ClassVar[str]
    HISTORY: ClassVar[bool] = False

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for example `modelengine.endpoint.requested.v1`."""
        return f"modelengine.{cls.AGGREGATE}.{cls.VERB}.v{cls.MAJOR}"

    @property
    def entity_id(self) -> str:
        """The id of the entity this event is about."""
        return str(getattr(self, self.ENTITY))


DataT = TypeVar("DataT", bound=EventData)


class Event(BaseModel, Generic[DataT]):
    """One event. Times are UTC; `id` is unique and is the message id of JetStream's deduplication.

    `sequence` counts the events of one entity, `position` those of the whole installation; the outbox relay sets both
    when it writes the event into the history, so they are absent before that and in facts between services.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    owner: str | None = None
    traceparent: str | None = None
    sequence: int | None = Field(default=None, ge=1)
    position: int | None = Field(default=None, ge=1)
    data: DataT


def new_event(
    data: DataT, *, source: str, owner: str | None = None, traceparent: str | None = None, event_id: str | None = None
) -> Event[DataT]:
    """Wrap `data` into an envelope. `source` is the service that says it; a history event needs its `owner`."""
    if data.HISTORY and owner is None:
        raise ValueError(f"{data.type_name()} is a history event and needs an owner")
    concrete = cast("type[Event[DataT]]", Event.__class_getitem__(type(data)))
    return concrete(
        id=event_id or uuid4().hex,
        source=f"/model-engine/{source}",
        type=data.type_name(),
        subject=data.entity_id,
        time=datetime.now(UTC),
        owner=owner,
        traceparent=traceparent,
        data=data,
    )
