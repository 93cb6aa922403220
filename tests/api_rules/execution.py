"""Carrying out a row: what it needs is made, its request sent, its answer compared."""

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import fastapi.dependencies.utils as fastapi_requests
import httpx
import pytest
from pydantic import BaseModel, ValidationError, create_model

from api_rules.gateway import ADMIN_TOKEN, STUCK, UNBUILT, GatewayThread
from api_rules.requests import ENDPOINT, ENDPOINTS, FLAVORS
from api_rules.row import Holding, Off, Row, Unchecked
from model_engine_local.testing import wait_until

_TOKEN = re.compile(r"<(bundle|endpoint|name|owner|clone):?([a-z-]*)>")


class Callers:
    """Clients of the gateway by owner; `unprivileged` is a user of `ada` who may not bring images."""

    def __init__(self, gateway: GatewayThread) -> None:
        self._url = gateway.url
        self._clients: dict[str, httpx.Client] = {}

    def __getitem__(self, caller: str) -> httpx.Client:
        if caller not in self._clients:
            body = {"owner": "ada", "privileged": False} if caller == "unprivileged" else {"owner": caller}
            headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
            made = httpx.post(f"{self._url}/v1/admin/api-keys", json=body, headers=headers)
            assert made.status_code == 200, made.text
            self._clients[caller] = httpx.Client(base_url=self._url, auth=(made.json()["key"], ""), timeout=20)
        return self._clients[caller]

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()


class Table:
    """What all rows share: the callers, and bundles, which never change."""

    def __init__(self, gateway: GatewayThread) -> None:
        self.callers = Callers(gateway)
        self.numbers = itertools.count()
        self.bundles = {kind: self._bundle(kind) for kind in FLAVORS}

    def _bundle(self, kind: str) -> str:
        body = {"name": f"rules-{kind}", "schema_location": "none", "flavor": FLAVORS[kind]}
        made = self.callers["ada"].post("/v2/model-bundles", json=body)
        assert made.status_code == 200, made.text
        return str(made.json()["model_bundle_id"])

    def run(self, row: Row) -> None:
        """Prepare the row, then send its request. Raises AssertionError where the answer is another."""
        execution = Execution(self, row)
        execution.prepare()
        execution.check()


class Execution:
    """One run of a row, with endpoints that no other run sees."""

    def __init__(self, table: Table, row: Row) -> None:
        self._table = table
        self._row = row
        self._number = next(table.numbers)
        self._known = {"name": f"rule-{self._number}", "owner": f"owner-{self._number}"}

    def prepare(self) -> None:
        """Make what the row names, and send what comes before."""
        for method, path, body in self._row.before:
            answer = self._send(method, path, body)
            assert answer.status_code == 200, answer.text
            if path.endswith("clone-with-changes"):
                self._known["clone"] = answer.json()["model_bundle_id"]
        self._filled([self._row.path, self._row.body])

    def check(self, seconds: float = 20.0) -> None:
        """Send the request and compare. Raises AssertionError where the answer is another, or none comes in time."""
        row = self._row
        try:
            answer = self._send(row.method, row.path, row.body, seconds)
        except httpx.ReadTimeout as error:
            raise AssertionError(f"no answer within {seconds} s") from error
        found: Any = answer.json() if answer.headers.get("content-type") == "application/json" else answer.text
        expected = (row.status, self._filled(row.answer))
        assert (answer.status_code, found) == expected, f"{(answer.status_code, found)}\nis not\n{expected}"

    def _send(self, method: str, path: str, body: Any, seconds: float = 20.0) -> httpx.Response:
        client = self._table.callers[self._filled(self._row.caller)]
        content = {} if body is None else {"json": self._filled(body)}
        return client.request(method, self._filled(path), timeout=seconds, **content)

    def _filled(self, value: Any) -> Any:
        """The value with ids and names in the place of their tokens."""
        if isinstance(value, str):
            return _TOKEN.sub(lambda token: self._of(token[1], token[2]), value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            return {self._filled(name): self._filled(item) for name, item in value.items()}
        return Holding(self._filled(value.members)) if isinstance(value, Holding) else value

    def _of(self, what: str, kind: str) -> str:
        if what == "bundle":
            # Strangers name the bundles of `ada`; owners of their own make one.
            return self._own_bundle() if self._row.caller == "<owner>" else self._table.bundles[kind]
        key = f"{what}:{kind}" if kind else what
        if key not in self._known:
            assert what == "endpoint", f"<{key}> is not known yet"
            self._known[key] = self._endpoint(kind)
        return self._known[key]

    def _own_bundle(self) -> str:
        if "own-bundle" not in self._known:
            body = {"name": "own", "schema_location": "none", "flavor": FLAVORS["artifact"]}
            made = self._table.callers[self._known["owner"]].post("/v2/model-bundles", json=body)
            self._known["own-bundle"] = made.json()["model_bundle_id"]
        return self._known["own-bundle"]

    def _endpoint(self, kind: str) -> str:
        ada = self._table.callers["ada"]
        name = f"{kind}-{self._number}"
        assert name.startswith((UNBUILT, STUCK)) or kind in ENDPOINTS
        made = ada.post("/v1/model-endpoints", json=self._filled({**ENDPOINT, **ENDPOINTS[kind], "name": name}))
        assert made.status_code == 200, made.text
        endpoint_id = ada.get("/v1/model-endpoints", params={"name": name}).json()["model_endpoints"][0]["id"]
        if not name.startswith(UNBUILT):
            wait_until(lambda: _is_ready(ada.get(f"/v1/model-endpoints/{endpoint_id}").json()))
        if name.startswith(STUCK):
            self._delete_in_the_background(ada, endpoint_id)
        return str(endpoint_id)

    def _delete_in_the_background(self, ada: httpx.Client, endpoint_id: str) -> None:
        """The answer would come when it is gone, which is never."""
        with pytest.raises(httpx.ReadTimeout):
            ada.delete(f"/v1/model-endpoints/{endpoint_id}", timeout=0.2)


def _is_ready(endpoint: dict[str, Any]) -> bool:
    state = endpoint["deployment_state"]
    return endpoint["status"] == "READY" and state is not None and state["available_workers"] == 1


@contextmanager
def switched_off(off: Off | Unchecked) -> Iterator[None]:
    """Without the validator."""
    with pytest.MonkeyPatch.context() as patch:
        if isinstance(off, Off):
            holder: Any = import_module(off.module)
            *parents, name = off.attribute.split(".")
            for parent in parents:
                holder = getattr(holder, parent)
            patch.setattr(holder, name, off.instead)
        else:
            patch.setattr(fastapi_requests, "_validate_value_with_model_field", _checking_all_but(off))
        yield


def _checking_all_but(off: Unchecked) -> Any:
    """FastAPI's check of a request, with one field taken as it comes."""
    check = fastapi_requests._validate_value_with_model_field

    def relaxed(*, field: Any, value: Any, values: Any, loc: Any) -> Any:
        if off.model == "query" and field.name == off.field:
            return value, []
        model = _model(field.field_info.annotation, off.model)
        if model is None:
            return check(field=field, value=value, values=values, loc=loc)
        if off.field is None:
            return value, []
        looser = create_model(model.__name__, __base__=model, **{off.field: (Any, None)})
        try:
            return looser.model_validate(value), []
        except ValidationError as error:
            return None, [{**problem, "loc": (*loc, *problem["loc"])} for problem in error.errors()]

    return relaxed


def _model(annotation: Any, name: str) -> type[BaseModel] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel) and candidate.__name__ == name:
            return candidate
    return None
