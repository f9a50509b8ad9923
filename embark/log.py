"""Structured logs: an event name and fields, one line an event, on standard error.

Never log a secret, a vector or an input's content; a key's printed form is fine.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

import structlog

logger = structlog.stdlib.get_logger


class Seldom:
    """Says whether something that repeats itself should be logged again. Safe for many threads.

    Args:
        seconds: at most once in this time.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether it is time again; if so, it is not for another while."""
        now = self._clock()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def configure(*, level: str, form: str, process: str) -> None:
    """Set up logging of this process; called once, by its entry point.

    Args:
        level: a level of the logging module, such as `info`.
        form: `json`, or `console` for people.
        process: name that each line carries, such as `gateway`.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _named(process),
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            pad_event_to=24,
            # Not the default, which shows local variables: inputs and keys are among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # It logs every damaged answer with a traceback; `embark_fetch_seconds` counts them.
    logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
    # Our own events say once what these two say for every attempt to connect.
    logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _named(process: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add
