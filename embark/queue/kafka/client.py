"""What every client of Kafka is told: where it is, who we are, how long to wait."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, Message

from embark.errors import ConfigurationError
from embark.queue.kafka.message import Record
from embark.settings import KafkaSettings

_SOCKET_MS = 10_000


class Refusals:
    """Why Kafka refuses a client: told to its error callback only, and needed in every message.

    The callback is called when the client is polled.
    """

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, error: KafkaError) -> None:
        """Note an error, as `error_cb`."""
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL):
            self._last = str(error.str())

    def add_to(self, text: str) -> str:
        """Return `text`, with the last refusal if there was one."""
        return f"{text}; {self._last}" if self._last else text

    def forget(self) -> None:
        """Note that Kafka has taken something."""
        self._last = ""


def client_options(
    settings: KafkaSettings, on_error: Callable[[KafkaError], None]
) -> dict[str, Any]:
    """Return librdkafka's settings for a connection.

    Args:
        settings: where Kafka is, and who we are.
        on_error: told what is wrong with connections, when the client is polled.

    Raises:
        ConfigurationError: a file of `tls` cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap),
        "client.id": "embark",
        "security.protocol": _protocol(settings),
        "socket.timeout.ms": _SOCKET_MS,
        "socket.keepalive.enable": True,
        # `embark schema apply` makes topics, with the settings' partitions and replicas.
        "allow.auto.create.topics": False,
        # A broker that comes back must be noticed within a second.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "logger": logging.getLogger("kafka"),
        "error_cb": on_error,
    }
    if settings.user:
        options |= {
            "sasl.mechanisms": settings.mechanism,
            "sasl.username": settings.user,
            "sasl.password": settings.password.get_secret_value(),
        }
    tls = settings.tls
    if tls.enabled:
        files = {
            "ssl.ca.location": tls.authority,
            "ssl.certificate.location": tls.certificate,
            "ssl.key.location": tls.key,
        }
        for name, path in files.items():
            if path is not None:
                if not os.access(path, os.R_OK):
                    raise ConfigurationError(f"queue.kafka.tls: {path} cannot be read")
                options[name] = str(path)
        if not tls.check_hostname:
            options["ssl.endpoint.identification.algorithm"] = "none"
    return options


def _protocol(settings: KafkaSettings) -> str:
    if settings.user:
        return "SASL_SSL" if settings.tls.enabled else "SASL_PLAINTEXT"
    return "SSL" if settings.tls.enabled else "PLAINTEXT"


def to_record(read: Message) -> Record:
    """Return a record that was read without an error."""
    headers = read.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return Record(
        str(read.topic()),
        _bytes(read.key()),
        _bytes(read.value()),
        [(name, _bytes(value) or b"") for name, value in pairs],
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
