"""Sends one request and returns the answer's bytes, or says in a word why there is none.

On geventhttpclient, which Locust's own fast client stands on: a request costs the generator little.
"""

from __future__ import annotations

from typing import Final

import gevent
from geventhttpclient import HTTPClient
from geventhttpclient.response import HTTPParseError

from loadtests.calls import SCORE, Wire

_BLOCK_BYTES = 2**16
_GRACE = 1.5


class CallFailed(Exception):
    """A request without a useful answer; the argument is the reason, as reports show it."""


class Sender:
    """Connections to the service, and to the scoring service.

    Args:
        host: the gateway's URL.
        score_host: the scoring service's.
        timeout_s: longest wait for the network.
        connections: most at once to each.
        api_key: secret of the key that the gateway is sent, empty for none.
    """

    def __init__(
        self, host: str, score_host: str, timeout_s: float, connections: int, api_key: str = ""
    ) -> None:
        self._timeout_s: Final = timeout_s
        authorization = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._gateway: Final = self._open(host, connections, authorization)
        self._scoring: Final = self._open(score_host, connections, {})

    def _open(self, url: str, connections: int, headers: dict[str, str]) -> HTTPClient:
        return HTTPClient.from_url(
            url,
            concurrency=connections,
            connection_timeout=self._timeout_s,
            network_timeout=self._timeout_s,
            block_size=_BLOCK_BYTES,
            headers={"Content-Type": "application/json", **headers},
        )

    def post(self, wire: Wire) -> bytes:
        """Send a request; return the body of its answer.

        Raises:
            CallFailed: no answer in time, no connection, or a status that is no success.
        """
        client = self._scoring if wire.path == SCORE else self._gateway
        try:
            # The socket's own timeout comes first, and leaves the connection in order; this one
            # ends an answer that trickles.
            with gevent.Timeout(self._timeout_s * _GRACE):
                response = client.request("POST", wire.path, wire.body)
                body = bytes(response.read())
        except (gevent.Timeout, TimeoutError):
            raise CallFailed("timeout") from None
        except (OSError, HTTPParseError) as error:
            raise CallFailed(f"connection: {type(error).__name__}") from None
        if not 200 <= response.status_code < 300:
            raise CallFailed(f"status {response.status_code}")
        return body

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._gateway.close()
        self._scoring.close()
