"""What is started for a run."""

from dataclasses import replace
from pathlib import Path

from model_engine_runtime.agent.backend import RunId
from model_engine_runtime.agent.process.launch import (
    Place,
    bind_host_of,
    forwarder_config,
    host_of,
    launch_document,
)
from model_engine_runtime.agent.settings import AgentSettings
from model_engine_runtime.protocol import WorkerSet

RUN = RunId("end_a", "wrk_1", 3)
PLACE = Place(Path("/d/run"), Path("/d/env"), Path("/d/secrets"), "127.0.0.1", 4001, 4002)
SETTINGS = AgentSettings(nats_url="nats://n:4222", nats_token="t0ken", agent_data_dir=Path("/d"))
ENVIRON = {
    "PATH": "/bin",
    "LANG": "C.UTF-8",
    "AWS_SECRET_ACCESS_KEY": "x",
    "ME_NATS_TOKEN": "t0ken",
    "HOME": "/home/someone",
}
WANT = WorkerSet(
    installation="i",
    endpoint_id="end_a",
    generation=1,
    revision="r",
    environment_key="k",
    command=("{python}", "-m", "serve", "--port={port}", "{unknown}"),
    env={"MODEL": "{artifact}", "CERTS": "{secrets}/ca", "HOME": "/mine"},
    cpus=2.5,
    memory_bytes=5,
    forwarder_config={},
    ready_path="/health",
    drain_s=7.0,
)


def launch():
    return launch_document(RUN, WANT, PLACE, host_of(SETTINGS, ENVIRON, "/venv/python"))


def test_placeholders_are_filled_in():
    model = launch()["model"]
    assert model["command"] == ["/d/env/venv/bin/python", "-m", "serve", "--port=4001", "{unknown}"]
    assert (model["env"]["MODEL"], model["env"]["CERTS"]) == ("/d/env/artifact", "/d/secrets/ca")


def test_user_code_gets_its_own_variables_and_the_basics_only():
    env = launch()["model"]["env"]
    assert (env["HOME"], env["LANG"], env["OMP_NUM_THREADS"]) == ("/mine", "C.UTF-8", "2")
    assert "t0ken" not in str(env)
    assert "AWS_SECRET_ACCESS_KEY" not in env
    assert {name for name in env if name.startswith("ME_")} == {
        "ME_DRAIN_SECONDS",
        "ME_TERMINATION_FILE",
        "ME_WORKER_RUN",
    }


def test_the_forwarder_gets_nats_and_the_drain():
    forwarder = launch()["forwarder"]
    assert forwarder["env"]["ME_NATS_URL"] == "nats://n:4222"
    assert forwarder["env"]["ME_NATS_TOKEN"] == "t0ken"
    assert "AWS_SECRET_ACCESS_KEY" not in forwarder["env"]
    command = " ".join(forwarder["command"])
    assert command == (
        "/venv/python -m model_engine_forwarder --config /d/run/forwarder.json --num-workers 1 --host 127.0.0.1 "
        "--port 4002 --graceful-timeout 7"
    )


def test_ports_routes_and_the_worker_are_filled_into_the_configuration():
    given = {
        "forwarder": {"sync": {"predict_route": "/p"}, "async": {"healthcheck_route": "/own"}, "max_concurrency": 3},
        "worker": {"owner": "ada", "queue": {"stream": "TASKS"}},
    }
    assert forwarder_config(RUN, replace(WANT, forwarder_config=given), PLACE) == {
        "forwarder": {
            "sync": {
                "predict_route": "/p",
                "healthcheck_route": "/health",
                "user_hostname": "127.0.0.1",
                "user_port": 4001,
            },
            "async": {"healthcheck_route": "/own", "user_hostname": "127.0.0.1", "user_port": 4001},
            "max_concurrency": 3,
            "worker": {
                "owner": "ada",
                "queue": {"stream": "TASKS"},
                "endpoint_id": "end_a",
                "worker_id": "wrk_1",
            },
        }
    }
    assert forwarder_config(RUN, replace(WANT, forwarder_config={"stream": {}}), PLACE) == {
        "forwarder": {
            "stream": {"healthcheck_route": "/health", "user_hostname": "127.0.0.1", "user_port": 4001},
        }
    }


def test_forwarders_listen_to_the_world_only_where_they_are_advertised_to_it():
    assert bind_host_of("127.0.0.1") == bind_host_of("localhost") == "127.0.0.1"
    assert bind_host_of("agent") == "0.0.0.0"
