"""Calls to a real receiver: what is sent, what is refused, and what is bounded."""

import socket
import ssl
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from model_engine_chassis.outbound import (
    AddressRefused,
    BasicAuth,
    ClientCertificate,
    OutboundClient,
    OutboundFailed,
)

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.fixture
def client() -> OutboundClient:
    return OutboundClient(LOOPBACK, total_seconds=5)


async def test_a_call_arrives_as_it_was_given(client: OutboundClient, receiver: Any) -> None:
    url = f"http://127.0.0.1:{receiver.port}/a?b=c"
    answer = await client.post(url, b"body", {"content-type": "text/x"}, BasicAuth("ada", "pass:word"))
    assert (answer.status, answer.body, answer.is_success) == (200, b"ok", True)
    head = receiver.heads[0]
    assert head.startswith("POST /a?b=c HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{receiver.port}\r\n" in head.lower()
    assert "content-type: text/x\r\n" in head.lower()
    assert "Basic YWRhOnBhc3M6d29yZA==" in head
    assert receiver.bodies == [b"body"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"])
async def test_an_address_of_the_inside_is_refused_before_anything_is_sent(receiver: Any, host: str) -> None:
    url = f"http://{host}:{receiver.port}/"
    for call in (OutboundClient().check(url), OutboundClient().post(url, b"", {})):
        with pytest.raises(AddressRefused, match="not public"):
            await call
    assert receiver.heads == []


@pytest.mark.parametrize(
    "url", ["ftp://example.com/", "file:///etc/passwd", "http://", "example.com", "http://h:x/", ""]
)
async def test_only_http_addresses_are_called(client: OutboundClient, url: str) -> None:
    with pytest.raises(AddressRefused, match="http"):
        await client.post(url, b"", {})


async def test_a_name_that_changes_its_address_is_called_at_the_one_that_was_checked(
    client: OutboundClient, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def resolve(host: Any, port: Any, **_: Any) -> Any:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("model_engine_chassis.outbound.client.socket.getaddrinfo", _resolving(resolve))
    await client.post(f"http://rebinding.test:{receiver.port}/", b"", {})
    assert asked == [b"rebinding.test"]
    assert f"host: rebinding.test:{receiver.port}\r\n" in receiver.heads[0].lower()


async def test_the_next_address_is_called_where_the_first_takes_no_connection(
    client: OutboundClient, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: Any, port: Any, **_: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("127.0.0.9", "127.0.0.1")]

    monkeypatch.setattr("model_engine_chassis.outbound.client.socket.getaddrinfo", _resolving(resolve))
    assert (await client.post(f"http://two.test:{receiver.port}/", b"", {})).status == 200


def _resolving(resolve: Any) -> Any:
    """Resolve names under .test with `resolve`; what is an address already, as ever."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        is_ours = b".test" in (host if isinstance(host, bytes) else str(host).encode())
        return resolve(host, port, **kwargs) if is_ours else real(host, port, *args, **kwargs)

    return getaddrinfo


async def test_a_redirect_is_an_answer(client: OutboundClient, receiver: Any) -> None:
    receiver.answer = b"HTTP/1.1 307 Elsewhere\r\nlocation: http://10.0.0.1/\r\ncontent-length: 0\r\n\r\n"
    answer = await client.post(f"http://127.0.0.1:{receiver.port}/", b"", {})
    assert (answer.status, answer.is_success) == (307, False)


async def test_the_answer_is_bounded(receiver: Any) -> None:
    receiver.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000
    client = OutboundClient(LOOPBACK, max_answer_bytes=1000)
    assert (await client.post(f"http://127.0.0.1:{receiver.port}/", b"", {})).body == b"x" * 1000


async def test_silence_has_a_deadline(receiver: Any) -> None:
    receiver.silent = True
    with pytest.raises(OutboundFailed, match=r"127\.0\.0\.1 did not answer within 0\.2 seconds"):
        await OutboundClient(LOOPBACK, total_seconds=0.2).post(f"http://127.0.0.1:{receiver.port}/", b"", {})


async def test_failures_say_the_host_and_not_the_path(client: OutboundClient, receiver: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/secret?token=secret"
        with pytest.raises(OutboundFailed, match=r"127\.0\.0\.1 could not be called") as refused:
            await client.post(url, b"", {})
    assert "secret" not in str(refused.value)
    receiver.answer = b"nonsense\r\n\r\n"
    with pytest.raises(OutboundFailed, match="could not be called"):
        await client.post(f"http://127.0.0.1:{receiver.port}/", b"", {})
    with pytest.raises(OutboundFailed, match="could not be resolved"):
        await client.check("http://no-such-host.invalid/")


async def test_a_server_is_verified_by_its_name_and_a_client_shows_its_certificate(
    serving: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    authority.issue_cert("localhost").configure_cert(tls)
    client = OutboundClient(LOOPBACK, total_seconds=5)

    async with serving(tls) as receiver:
        url = f"https://localhost:{receiver.port}/"
        answer = await client.post(url, b"", {}, _certificate(authority))
        assert (answer.status, receiver.peer_names) == (200, [(("DNS", "caller.test"),)])
        for refused in (None, _certificate(other)):
            with pytest.raises(OutboundFailed, match="localhost could not be called"):
                await client.post(url, b"", {}, refused)
        with pytest.raises(OutboundFailed, match="certificate verify failed"):
            await client.post(f"https://127.0.0.1:{receiver.port}/", b"", {}, _certificate(authority))
        for key in ("nonsense", ""):
            with pytest.raises(OutboundFailed, match="certificate cannot be used"):
                await client.post(url, b"", {}, ClientCertificate(key, key))
    assert len(receiver.heads) == 1


def _certificate(authority: trustme.CA) -> ClientCertificate:
    issued = authority.issue_cert("caller.test")
    chain = b"".join(part.bytes() for part in issued.cert_chain_pems)
    return ClientCertificate(chain.decode(), issued.private_key_pem.bytes().decode())
