"""The HTTP side of the client: one request with its retries, errors read back as `ServiceError`."""

from __future__ import annotations

import random
import time
from typing import Any, Final

import httpx
import orjson

from embark.errors import ServiceError

_RETRIED = (429, 502, 503, 504)
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0


class Transport:
    """Connections to one service, safe for many threads.

    Args:
        url: the service.
        timeout_s: longest that one HTTP request may take.
        retries: how often a request is sent again when the service cannot be reached or is busy.
    """

    def __init__(self, url: str, timeout_s: float, retries: int) -> None:
        self._http: Final = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)
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
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self.exchange(method, path, body, extra_s)
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
            answer: dict[str, Any] = orjson.loads(response.content)
            return answer
        raise AssertionError("unreachable")

    def exchange(
        self, method: str, path: str, body: bytes | None = None, extra_s: float = 0
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
                headers={"Content-Type": "application/json"},
                timeout=self._timeout_s + extra_s,
            )
        except httpx.TransportError as error:
            raise ServiceError(
                f"no answer from {self._http.base_url} ({type(error).__name__}); is `embark up`"
                " running there?",
                code="unreachable",
            ) from error


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
