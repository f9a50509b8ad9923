"""Fetching an image's bytes from a stranger's URL without being turned against one's own network.

Every address is checked at the moment of connecting, and the connection goes to just that
address, so that a name that resolves differently the second time gains nothing. Redirects are
followed by hand under the same checks. Bytes and time are bounded for the fetch as a whole.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.response import HTTPResponse

from consumers.inputs.addresses import Network, may_connect
from embark.errors import BadRequest, InputFailure, PermanentFailure, TemporaryFailure
from embark.inputs import canonical_url
from embark.metrics import FETCHES
from embark.settings import FetchSettings, InputSettings
from embark.sources import NOTHING_SAID, Validators
from embark.version import __version__

Resolve = Callable[..., list[Any]]

_CHUNK_BYTES = 64 * 1024
_HEADERS = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": f"EmbArk/{__version__}",
}
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_LATER = (408, 425, 429)
_UNCHANGED = 304
_MAX_VALIDATOR_CHARS = 512


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a URL names.

    Attributes:
        body: its bytes; None if they are those that the caller has seen before.
        validators: to ask the next time whether they have changed.
    """

    body: bytes | None
    validators: Validators


class _Dialer:
    """Opens the connections of one fetch, and cuts the one in use when the time is up."""

    def __init__(self, settings: FetchSettings, resolve: Resolve) -> None:
        self._allowed: Final[tuple[Network, ...]] = settings.allow_networks
        self._connect_timeout_s: Final = settings.connect_timeout_seconds
        self._resolve: Final = resolve
        self._deadline: Final = time.monotonic() + settings.timeout_seconds
        self._lock = threading.Lock()
        # A second handle on the connection: it stays valid when TLS takes over the first.
        self._handle: socket.socket | None = None
        self._timer = threading.Timer(settings.timeout_seconds, self._cut)
        self._timer.daemon = True
        self._timer.start()

    def remaining_s(self) -> float:
        """Seconds left of the fetch.

        Raises:
            TemporaryFailure: none are.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TemporaryFailure("the fetch ran out of time", code="fetch_timeout")
        return remaining

    def dial(self, host: str, port: int) -> socket.socket:
        """Return a connection to one of the host's addresses, all of which must be allowed."""
        candidates = self._candidates(host, port)
        for _, address in candidates:
            if not may_connect(ip_address(address[0].partition("%")[0]), self._allowed):
                raise PermanentFailure(
                    "the URL leads to an address that is not public", code="forbidden_address"
                )
        error: OSError = OSError("no address")
        for family, address in candidates:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(min(self._connect_timeout_s, self.remaining_s()))
                connection.connect(address)
                connection.settimeout(self.remaining_s())
                self._watch(connection)
            except OSError as refused:
                connection.close()
                error = refused
            except InputFailure:
                connection.close()
                raise
            else:
                return connection
        raise error

    def close(self) -> None:
        """Stop watching."""
        self._timer.cancel()
        with self._lock:
            if self._handle is not None:
                self._handle.close()
                self._handle = None

    def _candidates(self, host: str, port: int) -> list[tuple[int, Any]]:
        try:
            found = self._resolve(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_AGAIN:
                raise TemporaryFailure(
                    "the host's name cannot be resolved now", code="dns"
                ) from None
            raise PermanentFailure(
                "the host's name does not exist", code="host_not_found"
            ) from None
        except UnicodeError:
            raise PermanentFailure("the host's name is not valid", code="host_not_found") from None
        self.remaining_s()
        return [(family, address) for family, _, _, _, address in found]

    def _watch(self, connection: socket.socket) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = connection.dup()

    def _cut(self) -> None:
        with self._lock:
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)


class _Plain(HTTPConnection):
    dialer: _Dialer

    def _new_conn(self) -> socket.socket:
        return self.dialer.dial(self.host, self.port)


class _Tls(HTTPSConnection):
    dialer: _Dialer

    def _new_conn(self) -> socket.socket:
        return self.dialer.dial(self.host, self.port)


class Fetcher:
    """Fetches images. Safe for many threads; keeps no connection, cookie or credential.

    Args:
        settings: time, redirects, allowed networks.
        inputs: `max_image_bytes`.
        resolve: as `socket.getaddrinfo`.
    """

    def __init__(
        self,
        settings: FetchSettings,
        inputs: InputSettings,
        *,
        resolve: Resolve = socket.getaddrinfo,
    ) -> None:
        self._settings: Final = settings
        self._max_bytes: Final = inputs.max_image_bytes
        self._resolve: Final = resolve
        self._tls: Final = ssl.create_default_context()

    def fetch(self, url: str, seen: Validators = NOTHING_SAID) -> Fetched:
        """Return what an absolute http or https URL names.

        Args:
            url: the URL.
            seen: what the server said of the bytes that the caller has; they do not come again.

        Raises:
            PermanentFailure: `forbidden_address`, `host_not_found`, `not_found`, `fetch_refused`,
                `image_too_large`, `too_many_redirects`, `bad_redirect`, `bad_response`, `tls`.
            TemporaryFailure: `fetch_timeout`, `connection_failed`, `server_error`, `throttled`,
                `dns`.
        """
        outcome = "ok"
        with FETCHES.time() as timer:  # the label is known when the fetch has ended
            try:
                return self._follow(url, seen)
            except InputFailure as failure:
                outcome = failure.code
                raise
            finally:
                timer.labels(outcome=outcome)

    def _follow(self, url: str, seen: Validators) -> Fetched:
        dialer = _Dialer(self._settings, self._resolve)
        try:
            for _ in range(self._settings.max_redirects + 1):
                with _failures(dialer), self._get(url, dialer, seen) as response:
                    if seen and response.status == _UNCHANGED:
                        return Fetched(None, seen)
                    if response.status not in _REDIRECTS:
                        body = self._body(response)
                        dialer.remaining_s()  # a body cut by the clock may look complete
                        return Fetched(body, _validators(response))
                    url = _target(url, response)
        finally:
            dialer.close()
        raise PermanentFailure(
            f"more than {self._settings.max_redirects} redirects", code="too_many_redirects"
        )

    @contextmanager
    def _get(self, url: str, dialer: _Dialer, seen: Validators) -> Iterator[HTTPResponse]:
        parts = urlsplit(url)
        host, timeout_s = str(parts.hostname), dialer.remaining_s()
        connection: _Plain | _Tls
        if parts.scheme == "https":
            connection = _Tls(host, parts.port or 443, timeout=timeout_s, ssl_context=self._tls)
        else:
            connection = _Plain(host, parts.port or 80, timeout=timeout_s)
        connection.dialer = dialer
        target = parts._replace(scheme="", netloc="").geturl()
        try:
            headers = {**_HEADERS, **_conditions(seen)}
            connection.request(
                "GET", target, headers=headers, preload_content=False, decode_content=False
            )
            yield connection.getresponse()
        finally:
            connection.close()

    def _body(self, response: HTTPResponse) -> bytes:
        _check_status(response.status)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise PermanentFailure("the image comes compressed unasked", code="bad_response")
        announced = response.headers.get("Content-Length", "")
        if announced.isdecimal() and int(announced[:20]) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        while chunk := response.read(_CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise self._too_large()
        return bytes(body)

    def _too_large(self) -> PermanentFailure:
        return PermanentFailure(
            f"the image has more than {self._max_bytes} bytes", code="image_too_large"
        )


@contextmanager
def _failures(dialer: _Dialer) -> Iterator[None]:
    """Turn what the network raises into failures of the input."""
    try:
        yield
    except InputFailure:
        raise
    except ssl.SSLCertVerificationError:
        raise PermanentFailure("the host's certificate is not valid", code="tls") from None
    except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, ValueError) as error:
        dialer.remaining_s()  # a connection cut by the clock is a timeout
        if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
            raise TemporaryFailure(
                "the host did not answer in time", code="fetch_timeout"
            ) from None
        raise TemporaryFailure(
            f"the connection failed ({type(error).__name__})", code="connection_failed"
        ) from None


def _conditions(seen: Validators) -> dict[str, str]:
    conditions = {"If-None-Match": seen.etag, "If-Modified-Since": seen.modified}
    return {name: value for name, value in conditions.items() if value}


def _validators(response: HTTPResponse) -> Validators:
    return Validators(_header(response, "ETag"), _header(response, "Last-Modified"))


def _header(response: HTTPResponse, name: str) -> str:
    value = response.headers.get(name, "")
    # It is sent back one day, so it must be a header that can be.
    usable = value.isascii() and value.isprintable() and len(value) <= _MAX_VALIDATOR_CHARS
    return value if usable else ""


def _target(url: str, response: HTTPResponse) -> str:
    location = response.headers.get("Location")
    if not location:
        raise PermanentFailure("a redirect names no target", code="bad_redirect")
    try:
        return canonical_url(urljoin(url, location))
    except (BadRequest, ValueError):
        raise PermanentFailure(
            "a redirect's target cannot be fetched", code="bad_redirect"
        ) from None


def _check_status(status: int) -> None:
    if status == 200:
        return
    if status in _GONE:
        raise PermanentFailure(f"the host answered {status}", code="not_found")
    if status in _LATER:
        raise TemporaryFailure(f"the host answered {status}", code="throttled")
    if status >= 500:
        raise TemporaryFailure(f"the host answered {status}", code="server_error")
    raise PermanentFailure(f"the host answered {status}", code="fetch_refused")
