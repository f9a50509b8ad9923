"""The HTTP side of the client: one request with its retries, errors read back as `ServiceError`."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from embark.errors import ConfigurationError, ServiceError

_JSON = {"Content-Type": "application/json"}
_RETRIED = (429, 502, 503, 504)
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0


class Transport:
    """Connections to one service, safe for many threads.

    Args:
        url: the service.
        timeout_s: longest that one HTTP request may take.
        retries: how often a request is sent again when the service cannot be reached or is busy.
        api_key: secret of the key to send, None for none.
        authority: file with the authority to trust, PEM, None for the system's.

    Raises:
        ConfigurationError: the URL has no scheme, the authority's file cannot be used, or the
            secret cannot be sent.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        retries: int,
        api_key: str | None = None,
        authority: Path | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"the service's URL needs http:// or https://: {url!r}")
        self._http: Final = httpx.Client(
            base_url=url,
            timeout=timeout_s,
            trust_env=False,
            verify=True if authority is None else _trusting(authority),
            headers={} if api_key is None else {"Authorization": _bearer(api_key)},
        )
        self._timeout_s: Final = timeout_s
        self._retries: Final = retries

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._http.close()

    def request(
        self, method: str, path: str, body: bytes | None = None, extra_s: float = 0
    ) -> dict[str, Any]:
        """Return the JSON object that the service answers.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        answer: dict[str, Any] = orjson.loads(self.send(method, path, body, extra_s).content)
        return answer

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        extra_s: float = 0,
        headers: Mapping[str, str] = _JSON,
    ) -> httpx.Response:
        """Send a request, again if need be, and return the response of one that succeeded.

        Raises:
            ServiceError: the service refused the request or cannot be reached.
        """
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self.exchange(method, path, body, extra_s, headers)
            except ServiceError:
                if last:
                    raise
                _pause(attempt, None)
                continue
            if response.status_code in _RETRIED and not last:
                _pause(attempt, response.headers.get("Retry-After"))
                continue
            if not response.is_success:
                raise _service_error(response)
            return response
        raise AssertionError("unreachable")

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        extra_s: float = 0,
        headers: Mapping[str, str] = _JSON,
    ) -> httpx.Response:
        """Send one request and return its response, whatever it is.

        Raises:
            ServiceError: the service cannot be reached.
        """
        try:
            return self._http.request(
                method,
                path,
                content=body,
                headers=headers,
                timeout=self._timeout_s + extra_s,
            )
        except httpx.TransportError as error:
            raise ServiceError(
                f"no answer from {self._http.base_url} ({type(error).__name__}); is `embark up`"
                " running there?",
                code="unreachable",
            ) from error


def _bearer(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable()):
        raise ConfigurationError("the API key has letters that no key has")
    return f"Bearer {api_key.strip()}"


def _trusting(authority: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # what OpenSSL cannot parse is one, too
        raise ConfigurationError(f"{authority} is no file of authorities: {error}") from None


def _pause(attempt: int, retry_after: str | None) -> None:
    delay = _FIRST_DELAY_SECONDS * 2.0**attempt * random.uniform(0.5, 1.0)
    if retry_after is not None and retry_after.isdecimal():
        delay = max(delay, float(retry_after))
    time.sleep(min(delay, _LONGEST_DELAY_SECONDS))


def _service_error(response: httpx.Response) -> ServiceError:
    try:
        error = orjson.loads(response.content)["error"]
        code, message, index = error["code"], error["message"], error.get("index")
    except (ValueError, KeyError, TypeError):
        code, message, index = None, f"the service answered {response.status_code}", None
    return ServiceError(message, code=code, status=response.status_code, index=index)
