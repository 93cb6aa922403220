"""Model bundles: history events."""

from typing import ClassVar

from model_engine_contracts.envelope import EventData


class BundleCreated(EventData):
    """A bundle was registered; bundles never change afterwards."""

    AGGREGATE: ClassVar[str] = "bundle"
    VERB: ClassVar[str] = "created"
    ENTITY: ClassVar[str] = "bundle_id"
    HISTORY: ClassVar[bool] = True

    bundle_id: str
    name: str
    flavor: str
    created_by: str
