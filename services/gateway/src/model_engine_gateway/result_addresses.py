"""The signed addresses of results: where a worker may send one, and where a client reads it."""

from dataclasses import dataclass

from model_engine_chassis.signed_url import sign_result_url, sign_upload_url
from model_engine_contracts.ids import new_id


@dataclass(frozen=True, slots=True)
class ResultAddresses:
    """Makes addresses; `workers_url` is the gateway as workers reach it, `clients_url` as clients do."""

    workers_url: str
    clients_url: str
    secret: str
    valid_seconds: float

    def new_upload(self, valid_seconds: float) -> str:
        """Where one new result may be sent."""
        return self.upload(new_id("res"), valid_seconds)

    def upload(self, result_id: str, valid_seconds: float) -> str:
        """Where the result of this id may be sent."""
        return sign_upload_url(self.workers_url, result_id, self.secret, valid_seconds=valid_seconds)

    def content(self, result_id: str) -> str:
        """Where a result is read, for as long as results are kept."""
        return sign_result_url(self.clients_url, result_id, self.secret, valid_seconds=self.valid_seconds)
