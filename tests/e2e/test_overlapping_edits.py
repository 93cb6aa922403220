"""Many edits of one endpoint at once, while it is called: none is lost, the last one runs, no call fails."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from model_engine import Bundle, EndpointSettings
from model_engine_local.testing import eventually
from platform_under_test import Platform

EDITORS, EDITS_EACH = 4, 50
CALLS_PER_SECOND = 50
VERSIONS = 3


def load_predict_fn(app_config: dict[str, Any], model: Any) -> Any:
    def predict(x: int) -> dict[str, Any]:
        return {"x": x, "version": app_config["version"]}

    return predict


@dataclass(slots=True)
class Endpoint:
    """The endpoint under test; `accepted` holds each edit by the generation that it made."""

    id: str
    http: httpx.AsyncClient
    bundles: list[str]
    accepted: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"/v1/model-endpoints/{self.id}"

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def edit(self, editor: int, number: int) -> None:
        """One edit, found again among the revisions by its mark."""
        mark = f"{editor}-{number}"
        change = {"metadata": {"mark": mark}, **_changes(editor, number, self.bundles)}
        answer = await self.http.put(self.path, json=change)
        assert answer.status_code == 200, answer.text
        kept = (await self.get(f"{self.path}/revisions"))["revisions"]
        mine = next(one for one in kept if one["settings"]["metadata"] == {"mark": mark})
        self.accepted[mine["generation"]] = change


def _changes(editor: int, number: int, bundles: list[str]) -> dict[str, Any]:
    """Each editor has fields of its own, and some in common. Every tenth edit or so asks for other workers."""
    own: list[dict[str, Any]] = [
        {"max_workers": 2 + number % 3, "labels": {"team": "t", "product": "p", "editor-0": str(number)}},
        {"model_bundle_id": bundles[number // 8 % VERSIONS], "task_expires_seconds": 100 + number},
        {"cpus": f"{100 + number // 10}m", "labels": {"team": "t", "product": f"p{number}"}},
        {"memory": f"{512 + number // 10}Mi", "billing_tags": None, "max_workers": 3},
    ]
    return own[editor]


@dataclass(slots=True)
class Load:
    """Calls at a steady rate, whatever the answers take."""

    endpoint_id: str
    http: httpx.AsyncClient
    errors: list[str] = field(default_factory=list)
    calls: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            for number in itertools.count():
                if stop.is_set():
                    return
                calls.create_task(self._call(number))
                due = started + (number + 1) / CALLS_PER_SECOND
                try:
                    async with asyncio.timeout(max(0.0, due - time.monotonic())):
                        await stop.wait()
                except TimeoutError:
                    continue

    async def _call(self, number: int) -> None:
        query = {"model_endpoint_id": self.endpoint_id}
        try:
            answer = await self.http.post("/v1/sync-tasks", params=query, json={"args": {"x": number}})
        except httpx.HTTPError as error:
            self.errors.append(repr(error))
            return
        self.calls += 1
        told = answer.json()
        if (
            answer.status_code != 200
            or told["status"] != "SUCCESS"
            or f'"x": {number},' not in told["result"]["result"]
        ):
            self.errors.append(answer.text)


async def _bundles(http: httpx.AsyncClient, original: str) -> list[str]:
    """Copies of a bundle that say which version they are."""
    made = []
    for version in range(VERSIONS):
        body = {"original_model_bundle_id": original, "new_app_config": {"version": version}}
        answer = await http.post("/v2/model-bundles/clone-with-changes", json=body)
        made.append(answer.json()["model_bundle_id"])
    return made


async def test_overlapping_edits_under_load(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = Bundle(load_predict_fn, model={}, app_config={"version": -1})
    with platform.client() as client:
        deployed = client.deploy("edited", bundle, EndpointSettings(endpoint_type="sync", per_worker=10, cpus="100m"))
        client.wait_until_ready(deployed.id, 60)
    options: dict[str, Any] = {"base_url": platform.running.url, "auth": (platform.key, ""), "timeout": 30}
    async with httpx.AsyncClient(**options) as http, httpx.AsyncClient(**options) as calling:
        first = (await http.get(f"/v1/model-endpoints/{deployed.id}/revisions")).json()["revisions"][0]
        endpoint = Endpoint(deployed.id, http, await _bundles(http, first["model_bundle_id"]))
        load, stop = Load(deployed.id, calling), asyncio.Event()
        loading = asyncio.create_task(load.run(stop))

        async def editor(number: int) -> None:
            for edit in range(EDITS_EACH):
                await endpoint.edit(number, edit)

        started = time.monotonic()
        await asyncio.gather(*(editor(number) for number in range(EDITORS)))
        edited = time.monotonic() - started
        assert len(endpoint.accepted) == EDITORS * EDITS_EACH
        assert sorted(endpoint.accepted) == list(range(2, 2 + EDITORS * EDITS_EACH))

        expected = dict(first["settings"])
        for _, change in sorted(endpoint.accepted.items()):
            expected |= {name: value for name, value in change.items() if value is not None and name != "labels"}
            expected["labels"] = {**expected["labels"], **change.get("labels", {})}
        newest = (await endpoint.get(f"{endpoint.path}/revisions"))["revisions"][0]
        assert newest["settings"] == expected

        async def serves() -> bool:
            revision = (await endpoint.get(f"{endpoint.path}/revisions"))["revisions"][0]
            return bool(revision["serving"]) and (await endpoint.get(endpoint.path))["status"] == "READY"

        await eventually(serves, timeout=60)

        async def runs_the_last() -> bool:
            answer = await http.post(
                "/v1/sync-tasks", params={"model_endpoint_id": endpoint.id}, json={"args": {"x": 1}}
            )
            version = endpoint.bundles.index(expected["model_bundle_id"])
            return answer.json()["result"] == {"result": f'{{"x": 1, "version": {version}}}'}

        await eventually(runs_the_last, timeout=10)
        await eventually(lambda: len(platform.model_servers()) == 1, timeout=20)
        [worker] = platform.model_servers()
        assert f'"version": {endpoint.bundles.index(expected["model_bundle_id"])}' in worker.environ()["USER_CONFIG"]
        stop.set()
        await loading
    with capsys.disabled():
        print(f"\n{len(endpoint.accepted)} edits in {edited:.1f} s, {load.calls} calls, {len(load.errors)} errors")
    assert load.errors == []
