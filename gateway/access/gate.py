"""The gate: from a request's headers to a grant, or a refusal, before anything else is done.

With keys, a request needs one, and it says what it may do. Without (open mode, on loopback only)
everybody on this machine may do everything, but not web pages of other origins that a browser on
this machine happens to show: those send their Origin, or a Host that is not loopback's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from embark.api_keys import Scope
from embark.errors import BadRequest, DeadlineExceeded, Forbidden, Unauthorized
from embark.listening import is_loopback, require_safe
from embark.metrics import REFUSED
from embark.settings import GatewaySettings
from gateway.access.keyring import Keyring
from gateway.access.limits import Limit, Limits

_BEARER = "bearer "
_TIMEOUT_HEADER = "HTTP_X_REQUEST_TIMEOUT_MS"
_MAX_TIMEOUT_DIGITS = 9
_FOREIGN_SITES = ("cross-site", "same-site")
_ALL: Final = frozenset(Scope)
_NOTHING: Final[frozenset[Scope]] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """What one request may do.

    Attributes:
        scopes: empty for a request without a key.
        deadline: monotonic seconds after which nobody waits for the answer, None for never.
        limit: what it counts against, None for nothing.
    """

    scopes: frozenset[Scope]
    deadline: float | None = None
    limit: Limit | None = None

    def remaining_s(self, now: float) -> float | None:
        """Seconds until the deadline, None if there is none."""
        return None if self.deadline is None else self.deadline - now

    def check_deadline(self, now: float) -> None:
        """Raise DeadlineExceeded if the deadline is over."""
        if self.deadline is not None and now >= self.deadline:
            REFUSED.labels(reason="deadline").inc()
            raise DeadlineExceeded("the time that X-Request-Timeout-Ms gives is over")

    def end(self) -> None:
        """Count the request as ended; call once."""
        if self.limit is not None:
            self.limit.give_back()


_FREE: Final = Grant(_ALL)
_STRANGER: Final = Grant(_NOTHING)


class Gate:
    """Decides on the requests of one process. Safe for many threads.

    Args:
        settings: where keys are, and the limits of those that have none of their own.
        clock: monotonic seconds.

    Raises:
        ConfigurationError: there must be keys, and no file is named.
    """

    def __init__(
        self, settings: GatewaySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        require_safe(settings)
        self._clock: Final = clock
        self._keyring: Final = (
            None if settings.keys_file is None else Keyring(settings.keys_file, clock)
        )
        self._limits: Final = Limits(
            settings.key_requests_per_second,
            settings.key_concurrent,
            settings.processes,
            clock,
        )

    def admit(self, environ: Mapping[str, Any], arrived: float | None = None) -> Grant:
        """Return what a request may do; whoever asks ends the grant.

        Args:
            environ: of WSGI; only its headers are looked at.
            arrived: when its headers had arrived, if that was not now.

        Raises:
            Unauthorized: a key that is not valid.
            Forbidden: a web page of another origin, in open mode.
            TooManyRequests: the key's limit is reached.
            BadRequest: `X-Request-Timeout-Ms` is no number.
            DeadlineExceeded: its time is over.
        """
        deadline = None
        if _TIMEOUT_HEADER in environ:
            deadline = _timeout_s(environ[_TIMEOUT_HEADER]) + (arrived or self._clock())
        if self._keyring is None:
            _refuse_foreign(environ)
            return _FREE if deadline is None else Grant(_ALL, deadline)
        secret = _secret(environ)
        if secret is None:
            return _STRANGER
        key = self._keyring.find(secret)
        if key is None:
            REFUSED.labels(reason="wrong_key").inc()
            raise Unauthorized("this API key is not valid", code="invalid_api_key")
        grant = Grant(key.scopes, deadline, self._limits.of(key))
        grant.check_deadline(self._clock())
        if grant.limit is not None:
            grant.limit.take()
        return grant


def require(grant: Grant, scope: Scope) -> None:
    """Raise Unauthorized or Forbidden if a grant lacks a scope."""
    if scope in grant.scopes:
        return
    if not grant.scopes:
        REFUSED.labels(reason="no_key").inc()
        raise Unauthorized(
            "this needs an API key, in the header Authorization: Bearer", code="api_key_missing"
        )
    REFUSED.labels(reason="forbidden").inc()
    raise Forbidden(f"this needs a key with the scope {scope.value}", code="scope_missing")


def _secret(environ: Mapping[str, Any]) -> str | None:
    given: str | None = environ.get("HTTP_AUTHORIZATION")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    own: str | None = environ.get("HTTP_X_API_KEY")
    return given if own is None else own


def _refuse_foreign(environ: Mapping[str, Any]) -> None:
    host, origin = environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN")
    # A page that is merely linked to may be opened; what it could ask for may not.
    is_led = environ.get("HTTP_SEC_FETCH_SITE") in _FOREIGN_SITES and environ["PATH_INFO"] != "/"
    if _is_ours(host, origin) and not is_led:
        return
    REFUSED.labels(reason="foreign").inc()
    raise Forbidden(
        "without API keys only this machine may ask, under its own name: set gateway.keys_file",
        code="foreign_origin",
    )


@lru_cache(1024)
def _is_ours(host: str | None, origin: str | None) -> bool:
    try:
        if host is not None and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return False
        # The same host and port, or no browser.
        return origin is None or urlsplit(origin).netloc.lower() == (host or "").lower()
    except ValueError:
        return False


def _timeout_s(given: str) -> float:
    if not (given.isascii() and given.isdecimal() and len(given) <= _MAX_TIMEOUT_DIGITS):
        raise BadRequest(
            "X-Request-Timeout-Ms must be a whole number of milliseconds", code="invalid_timeout"
        )
    return int(given) / 1000
