"""The client: one request per call over a connection of its own to an address that was checked before.

The name is resolved once, the addresses are checked, and the connection goes to a checked address itself, so a name
that resolves to something else a moment later changes nothing. Redirects are not followed: they would lead past the
check.
"""

import asyncio
import logging
import socket
import ssl
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from model_engine_chassis.outbound.addresses import AddressRefused, Network, OutboundError, permitted_addresses

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_URL_LENGTH = 2083
TRIED_ADDRESSES = 3
RESOLVER_THREADS = 32

for _name in ("httpx", "httpcore"):
    # They log whole addresses, and an address may hold a secret.
    logging.getLogger(_name).setLevel(logging.WARNING)


class OutboundFailed(OutboundError):
    """No complete answer came: name, connection, TLS or time. Another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """User name and password (RFC 7617)."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Certificate chain and unencrypted private key in PEM, shown to a server that asks for one (mutual TLS)."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class OutboundAnswer:
    """What was answered; `body` is its beginning, undecoded. Names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 200 to 299; a redirect is not."""
        return 200 <= self.status < 300


class OutboundClient:
    """Calls http and https addresses of users.

    `allowed` are networks that may be called although they are not public. Certificates of servers are verified against
    certifi's authorities, or those in the file that SSL_CERT_FILE names. May be shared by tasks of one event loop.
    """

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        *,
        connect_seconds: float = CONNECT_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._allowed = tuple(allowed)
        self._connect_seconds = connect_seconds
        self._total_seconds = total_seconds
        self._max_answer_bytes = max_answer_bytes
        self._tls = httpx.create_ssl_context()
        # Threads of its own: names whose servers do not answer must not hold up other work of the process.
        self._resolver = ThreadPoolExecutor(RESOLVER_THREADS, "resolve")

    async def check(self, url: str) -> None:
        """Find out whether `url` would be called now. Raises AddressRefused, OutboundFailed."""
        target = _parse(url)
        async with _deadline(target.host, self._total_seconds):
            await self._addresses(target)

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        auth: BasicAuth | ClientCertificate | None = None,
    ) -> OutboundAnswer:
        """Send `body` once and give the answer, whatever its status. Raises AddressRefused, OutboundFailed.

        Only a connection that was not made is tried again, at the next address of the host.
        """
        return await self._request("POST", url, body, headers, auth)

    async def get(self, url: str) -> OutboundAnswer:
        """Ask for `url` and give the beginning of the answer, in the same way as `post`."""
        return await self._request("GET", url, None, {})

    async def _request(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str],
        auth: BasicAuth | ClientCertificate | None = None,
    ) -> OutboundAnswer:
        target = _parse(url)
        async with _deadline(target.host, self._total_seconds):
            addresses = await self._addresses(target)
            tls = await asyncio.to_thread(_tls_with, auth) if isinstance(auth, ClientCertificate) else self._tls
            request_auth = httpx.BasicAuth(auth.username, auth.password) if isinstance(auth, BasicAuth) else None
            timeout = httpx.Timeout(self._total_seconds, connect=self._connect_seconds)
            try:
                async with httpx.AsyncClient(
                    verify=tls, auth=request_auth, timeout=timeout, trust_env=False, follow_redirects=False
                ) as client:
                    sent = {"accept-encoding": "identity", **headers, "host": target.netloc.decode("ascii")}
                    request = client.build_request(method, target, content=body, headers=sent)
                    return await self._send(client, request, addresses)
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                raise OutboundFailed(f"The host {target.host} could not be called: {_reason(error)}.") from error

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request, addresses: list[str]) -> OutboundAnswer:
        """Send to the first address that takes the connection."""
        *earlier, last = addresses
        for address in earlier:
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await self._send_to(address, client, request)
        return await self._send_to(last, client, request)

    async def _send_to(self, address: str, client: httpx.AsyncClient, request: httpx.Request) -> OutboundAnswer:
        # The certificate is verified for the name, though the connection goes to the address.
        extensions = {**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")}
        pinned = httpx.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            content=request.content,
            extensions=extensions,
        )
        answer = await client.send(pinned, stream=True)
        try:
            return OutboundAnswer(answer.status_code, await self._beginning(answer), dict(answer.headers))
        finally:
            await answer.aclose()

    async def _beginning(self, answer: httpx.Response) -> bytes:
        read = bytearray()
        async for piece in answer.aiter_raw():
            read += piece
            if len(read) >= self._max_answer_bytes:
                break
        return bytes(read[: self._max_answer_bytes])

    async def _addresses(self, target: httpx.URL) -> list[str]:
        port = target.port or (443 if target.scheme == "https" else 80)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._resolver, lambda: socket.getaddrinfo(target.raw_host, port, type=socket.SOCK_STREAM)
            )
        except (OSError, UnicodeError) as error:
            raise OutboundFailed(f"The host {target.host} could not be resolved: {_reason(error)}.") from error
        resolved = [str(address[0]) for *_, address in found]
        return permitted_addresses(target.host, resolved, self._allowed)[:TRIED_ADDRESSES]


def _parse(url: str) -> httpx.URL:
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AddressRefused("This is not an address. Use http://… or https://….") from error
    if target.scheme not in ("http", "https") or not target.host or len(url) > MAX_URL_LENGTH:
        raise AddressRefused(f"Use an address of http or https with a host, of at most {MAX_URL_LENGTH} characters.")
    return target


def _tls_with(certificate: ClientCertificate) -> ssl.SSLContext:
    """The standard library reads certificates from files only; these last as long as the reading."""
    context = httpx.create_ssl_context()
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        chain.write_text(certificate.certificate)
        key.write_text(certificate.key)
        try:
            # The empty password keeps OpenSSL from asking the terminal for one.
            context.load_cert_chain(chain, key, password="")
        except (ssl.SSLError, ValueError) as error:
            raise OutboundFailed(
                f"The client certificate cannot be used: {_reason(error)}. "
                "It must be a certificate and its unencrypted private key, both in PEM."
            ) from error
    return context


@asynccontextmanager
async def _deadline(host: str, seconds: float) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise OutboundFailed(f"The host {host} did not answer within {seconds:g} seconds.") from error


def _reason(error: Exception) -> str:
    return str(error).rstrip(".") or type(error).__name__
