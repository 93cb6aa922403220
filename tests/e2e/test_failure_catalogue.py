"""Every failure of the catalogue that the process runtime knows, injected for real: each explains itself in time.

What is measured is the time from the signal (an exit, the resolver's error, a deadline passed, a third crash, memory
over its limit) to the answer of GET that names the code.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pymongo
import pytest
from typer.testing import CliRunner

import faulty_bundles
from faulty_bundles import LAST_WORDS
from model_engine.bundling import Bundle, python_version, write_bundle
from model_engine.cli.app import build as build_command_line
from model_engine_contracts.failures import CATALOGUE, Reason
from model_engine_local.data_dir import DataDir
from model_engine_local.testing import free_port
from platform_under_test import Platform, PlatformFactory

START_DEADLINE = 15.0
EVERYTHING_SHOWN = 75.0
PROMISED_SECONDS = 5.0
SMALL_DISK = 'mount -t tmpfs -o size=16m tmpfs "$0" && exec "$@"'


def healthy(marks: str) -> Any:
    return lambda x: x


@dataclass
class Fault:
    """One failure: what is deployed, and what must be said about it.

    `signal` says when it happened: "refused" (nothing is built), "build" (the last line of the build's log), "deadline"
    (of the first start), "over" (more memory than allowed), or the number of the exit that counts.
    """

    code: Reason
    signal: str | int
    load: Callable[[str], Any] = healthy
    cause: str = ""
    exit_code: int | None = None
    log: str = ""
    requirements: tuple[str, ...] = ()
    python: str = field(default_factory=python_version)
    flavor: dict[str, Any] = field(default_factory=dict)
    memory: int = 512 << 20
    content: bytes | None = None
    spoil: Callable[[Any, str], None] | None = None


def lose(database: Any, artifact_id: str) -> None:
    """The storage has lost the artifact."""
    database.artifacts.delete_one({"_id": artifact_id})


def damage(database: Any, artifact_id: str) -> None:
    """One byte of the artifact is another one now."""
    chunk = database["artifact_content.chunks"].find_one({"files_id": artifact_id})
    data = bytes([chunk["data"][0] ^ 1]) + chunk["data"][1:]
    database["artifact_content.chunks"].update_one({"_id": chunk["_id"]}, {"$set": {"data": data}})


IMAGE = {
    "flavor": "runnable_image",
    "repository": "models",
    "tag": "1",
    "command": ["serve"],
    "protocol": "http",
}

FAULTS = {
    "requirements that do not resolve": Fault(
        Reason.REQUIREMENTS_UNRESOLVABLE,
        "build",
        requirements=("cloudpickle==0.0.99",),
        cause="cloudpickle==0.0.99",
        exit_code=1,
        log="No solution found",
    ),
    "unsupported Python": Fault(Reason.PYTHON_MISMATCH, "build", python="3.99", cause="3.99"),
    "Python too old": Fault(Reason.PYTHON_MISMATCH, "build", python="3.4", cause="3.4"),
    "missing artifact": Fault(Reason.ARTIFACT_MISSING, "build", spoil=lose, cause="404"),
    "artifact changed in storage": Fault(Reason.ARTIFACT_CORRUPT, "build", spoil=damage, cause="SHA-256"),
    "artifact that is no pickle": Fault(
        Reason.ARTIFACT_CORRUPT, 1, content=b"not a pickle", cause="pickle", exit_code=1, log="Traceback"
    ),
    "unsupported flavor": Fault(Reason.FLAVOR_UNSUPPORTED, "refused", flavor=IMAGE, cause="runnable_image"),
    "import error": Fault(
        Reason.IMPORT_ERROR,
        1,
        faulty_bundles.import_error,
        cause="a_module_that_nobody_has",
        exit_code=1,
        log="Traceback",
    ),
    "model load exception": Fault(
        Reason.MODEL_LOAD_FAILED,
        1,
        faulty_bundles.load_exception,
        cause="ValueError: the weights are of another model",
        exit_code=1,
        log="in load_exception",
    ),
    "predict function missing": Fault(
        Reason.PREDICT_FUNCTION_MISSING, 1, faulty_bundles.no_predict_function, cause="str", exit_code=1, log="str"
    ),
    "exit at start": Fault(
        Reason.EXITED,
        1,
        faulty_bundles.exit_at_start,
        cause=f"exited with code 3; its last line: {LAST_WORDS}",
        exit_code=3,
        log=LAST_WORDS,
    ),
    "out of memory": Fault(
        Reason.OUT_OF_MEMORY,
        "over",
        faulty_bundles.out_of_memory,
        cause="of 192 MiB",
        exit_code=137,
        memory=faulty_bundles.MEMORY_BYTES,
    ),
    "never ready": Fault(
        Reason.NEVER_READY, "deadline", faulty_bundles.never_ready, cause=f"within {START_DEADLINE:g} s", log=LAST_WORDS
    ),
    "readiness answers 500": Fault(
        Reason.PROBE_FAILED, "deadline", faulty_bundles.readiness_answers_500, cause="answers 500", log="GET /readyz"
    ),
    "crash loop after ready": Fault(
        Reason.CRASH_LOOP, 3, faulty_bundles.crash_when_called, cause="3 exits within", exit_code=7, log=LAST_WORDS
    ),
}


@dataclass
class Injected:
    """A fault that was deployed, and what was seen of it. Moments are Unix times."""

    fault: Fault
    name: str
    endpoint_id: str
    artifact_sha256: str | None
    asked_at: float
    marks: Path
    exits: dict[int, float] = field(default_factory=dict)
    calls: int = 0
    shown_at: float | None = None
    reason: str = ""

    def signalled_at(self, agent: Path) -> float:
        """When it happened, by what the worker, its supervisor or the build left behind."""
        signal = self.fault.signal
        if isinstance(signal, int):
            return self.exits[signal]
        match signal:
            case "refused":
                return self.asked_at
            case "over":
                return (self.marks / "over").stat().st_mtime
            case "deadline":
                runs = (agent / "workers" / self.endpoint_id).glob("wrk_*/1/shim.json")
                return next(runs).stat().st_mtime + START_DEADLINE
        for request in (agent / "builds").glob("*/request.json"):
            if json.loads(request.read_bytes())["artifact_sha256"] == self.artifact_sha256:
                return max(log.stat().st_mtime for log in request.parent.glob("build.*.log"))
        raise AssertionError(f"{self.name}: no build")


class Bench:
    """Deploys faults on a platform and looks at what it says about them."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform, self.folder = platform, folder
        headers = {"authorization": f"Bearer {platform.key}"}
        self.http = httpx.Client(base_url=platform.running.url, headers=headers, timeout=60)
        self.mongo: Any = pymongo.MongoClient(platform.running.mongo_url)
        self.database = self.mongo["model_engine"]
        self.injected: dict[str, Injected] = {}

    def close(self) -> None:
        self.http.close()
        self.mongo.close()

    def inject(self, title: str, fault: Fault) -> Injected:
        """Upload, make a bundle and an endpoint."""
        name = title.replace(" ", "-").lower()
        marks = self.folder / name
        marks.mkdir()
        artifact_id, sha256 = None, None
        flavor = fault.flavor
        if not flavor:
            uploaded = self._upload(fault, marks)
            artifact_id, sha256 = uploaded["location"].removeprefix("artifact://"), uploaded["sha256"]
            flavor = {
                "flavor": "cloudpickle_artifact",
                "requirements": list(fault.requirements),
                "framework": {"framework_type": "pytorch", "pytorch_image_tag": "none"},
                "location": uploaded["location"],
                "load_predict_fn": "",
                "load_model_fn": "",
            }
        bundle = self._post("/v2/model-bundles", {"name": name, "schema_location": "", "flavor": flavor})
        if fault.spoil is not None:
            assert artifact_id is not None
            fault.spoil(self.database, artifact_id)
        asked_at = time.time()
        self._post(
            "/v1/model-endpoints",
            {
                "name": name,
                "model_bundle_id": bundle["model_bundle_id"],
                "endpoint_type": "sync",
                "cpus": 1,
                "gpus": 0,
                "memory": fault.memory,
                "storage": 1 << 30,
                "metadata": {},
                "min_workers": 1,
                "max_workers": 1,
                "per_worker": 1,
                "labels": {"team": "a", "product": "b"},
            },
        )
        with self.platform.client() as client:
            endpoint_id = client.endpoint(name).id
        return Injected(fault, name, endpoint_id, sha256, asked_at, marks)

    def watch(self, count: int) -> None:
        """Look until GET names the codes of so many faults, and crash what is to crash meanwhile."""
        deadline = time.monotonic() + EVERYTHING_SHOWN
        with ThreadPoolExecutor() as calls:
            while time.monotonic() < deadline:
                by_id = {item.endpoint_id: item for item in list(self.injected.values())}
                if sum(item.shown_at is not None for item in by_id.values()) == count:
                    return
                for endpoint in self.http.get("/v1/model-endpoints").json()["model_endpoints"]:
                    if (item := by_id.get(endpoint["id"])) is None:
                        continue
                    item.reason = endpoint["status_reason"] or ""
                    if item.shown_at is None and item.reason.startswith(f"{item.fault.code}: "):
                        item.shown_at = time.time()
                    self._note_exits(item)
                    is_due = endpoint["status"] == "READY" and item.calls == len(item.exits)
                    if item.fault.code is Reason.CRASH_LOOP and is_due:
                        item.calls += 1
                        calls.submit(self._call, item.endpoint_id)
                self._assert_everything_has_a_deadline()
                time.sleep(0.05)

    def check(self, item: Injected) -> None:
        """Code, cause and remedy are in GET, in the events and in `describe`."""
        fault, remedy = item.fault, CATALOGUE[item.fault.code].remedy
        assert item.shown_at is not None, f"{item.name}: GET says {item.reason!r}"
        assert fault.cause in item.reason, item.reason
        assert remedy in item.reason
        failures = [failure for failure in self._failures(item.endpoint_id) if failure["code"] == fault.code]
        assert failures, f"{item.name}: no event has the code"
        failure = failures[-1]
        assert fault.cause in failure["message"]
        assert failure["remedy"] == remedy
        if fault.exit_code is not None:
            assert failure["exit_code"] == fault.exit_code
        assert fault.log in failure["log_tail"], failure["log_tail"]

        described = json.loads(self._describe(item.name, "-o", "json"))
        assert (described["code"], described["remedy"]) == (fault.code, remedy)
        assert fault.cause in described["cause"]
        assert described["exit_code"] == failure.get("exit_code")
        assert fault.log in "\n".join(described["log_lines"])
        text = self._describe(item.name)
        for part in (fault.code, remedy.split(",")[0], "Recent events:", LAST_WORDS if fault.log == LAST_WORDS else ""):
            assert part in text

    def _failures(self, endpoint_id: str) -> list[dict[str, Any]]:
        with self.platform.client() as client:
            events = client.events(endpoint_id, after="0", follow=False)
            return [event.data["failure"] for event in events if event.data.get("failure") is not None]

    def _describe(self, *words: str) -> str:
        connection = ("--url", self.platform.running.url, "--api-key", self.platform.key)
        runner = CliRunner(env={"COLUMNS": "400", "NO_COLOR": "1"})
        result = runner.invoke(build_command_line(), ["describe", *words, *connection])
        assert result.exit_code == 0, result.output
        return result.stdout

    def _assert_everything_has_a_deadline(self) -> None:
        unbounded = {"phase": {"$in": ["PREPARING", "ROLLING_OUT"]}, "deadline": None}
        assert self.database.rollouts.find_one(unbounded) is None

    def _note_exits(self, item: Injected) -> None:
        workers = self.platform.folder / "agent" / "workers" / item.endpoint_id
        for report in workers.glob("wrk_*/*/exit.json"):
            item.exits.setdefault(int(report.parent.name), report.stat().st_mtime)

    def _call(self, endpoint_id: str) -> None:
        self.http.post(f"/v1/sync-tasks?model_endpoint_id={endpoint_id}", json={"args": {"x": 1}})

    def _upload(self, fault: Fault, marks: Path) -> Any:
        content = fault.content
        if content is None:
            path = self.folder / f"{marks.name}.pickle"
            write_bundle(path, Bundle(fault.load, model=str(marks)))
            content = path.read_bytes()
        headers = {"content-type": "application/octet-stream", "x-python-version": fault.python}
        return self._answer(self.http.post("/v1/artifacts", content=content, headers=headers))

    def _post(self, path: str, body: Any) -> Any:
        return self._answer(self.http.post(path, json=body))

    def _answer(self, response: httpx.Response) -> Any:
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def bench(start_platform: PlatformFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A platform on which every fault has been injected, and everything was seen that is to be seen."""
    platform = start_platform(ME_START_DEADLINE_SECONDS=str(START_DEADLINE))
    opened = Bench(platform, tmp_path_factory.mktemp("faults"))
    with ThreadPoolExecutor(1) as watching:
        watched = watching.submit(opened.watch, len(FAULTS))
        for title, fault in FAULTS.items():
            opened.injected[title] = opened.inject(title, fault)
        watched.result()
    yield opened
    opened.close()


@pytest.mark.parametrize("title", FAULTS)
def test_a_failure_explains_itself(bench: Bench, title: str) -> None:
    bench.check(bench.injected[title])


def test_every_failure_is_shown_in_time(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    agent = bench.platform.folder / "agent"
    seconds = {
        title: item.shown_at - item.signalled_at(agent)
        for title, item in bench.injected.items()
        if item.shown_at is not None
    }
    with capsys.disabled():
        print()
        for title, taken in seconds.items():
            print(f"{FAULTS[title].code:<26} {title:<34} {taken:6.2f} s from the signal to GET")
        print(f"{len(seconds)} failures, p99 = slowest = {max(seconds.values()):.2f} s")
    assert seconds.keys() == FAULTS.keys()
    assert max(seconds.values()) <= PROMISED_SECONDS


@pytest.fixture
def small_platform(tmp_path: Path) -> Iterator[Platform]:
    """A platform whose agent has a disk of 16 MiB."""
    folder = tmp_path / "platform"
    directory = DataDir(folder)
    directory.prepare()
    in_namespace = ("unshare", "-rm", "sh", "-c", SMALL_DISK, str(folder / "agent"))
    probe = subprocess.run([*in_namespace, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"no tmpfs in a user namespace here: {probe.stderr.strip()}")
    up = (sys.executable, "-c", "from model_engine.cli.app import main; main()", "up", "--data-dir", str(folder))
    with (tmp_path / "up.log").open("wb") as log:
        launcher = subprocess.Popen([*in_namespace, *up, "--port", str(free_port())], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while (running := directory.read_record()) is None:
            assert launcher.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < deadline, "the platform did not start"
            time.sleep(0.05)
        platform = Platform(folder, running, "")
        platform.key = platform.new_key("tester")
        yield platform
    finally:
        launcher.terminate()
        launcher.wait(60)


def test_a_full_disk_explains_itself(
    small_platform: Platform, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(small_platform, tmp_path)
    item = bench.injected["disk full"] = bench.inject(
        "disk full", Fault(Reason.DISK_FULL, "refused", requirements=("numpy",))
    )
    bench.watch(1)
    bench.check(item)
    bench.close()
    assert item.shown_at is not None
    with capsys.disabled():
        print(f"\n{item.fault.code}: {item.shown_at - item.asked_at:.2f} s from the request to GET")
