"""Traces: what a request and its misses went through, sent to an OpenTelemetry collector.

Off until `start` is given an endpoint: only then OpenTelemetry is imported, here and nowhere else,
and until then every function returns at once. A *context* is a W3C `traceparent`, empty for none or
for a trace that is not followed; it is what travels with a request through the queue. Spans carry
models, lanes, counts and outcomes; never an input, a URL or a key.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final, Literal

from embark.errors import ConfigurationError, EmbArkError
from embark.log import Seldom, logger
from embark.settings import TracingSettings
from embark.version import __version__

if TYPE_CHECKING:
    from opentelemetry import trace as otel
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter

HEADER = "traceparent"
"""Name of a context in HTTP, gRPC and Kafka."""

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]

_NONE: Attributes = {}
_TRACE_ID = slice(3, 35)
_CONTEXT_CHARS = 55
_SEND_MS = 1000
_EXPORT_SECONDS = 5.0
_FLUSH_SECONDS = 3.0

_log = logger(__name__)


class Span:
    """A span that is open until `end`. Safe for many threads.

    Attributes:
        context: names it to what it causes.
    """

    def __init__(self, tracing: _Tracing, span: otel.Span) -> None:
        self._tracing: Final = tracing
        self._span: Final = span
        self.context: Final = tracing.text(span)

    def note(self, attributes: Attributes) -> None:
        """Add attributes."""
        self._span.set_attributes(dict(attributes))

    def end(self, error: str = "") -> None:
        """End it; with a machine-readable error if it failed."""
        if error:
            self._tracing.fail(self._span, error)
        self._span.end()


class _Switch:
    on: _Tracing | None = None


_switch: Final = _Switch()


def start(settings: TracingSettings, process: str) -> None:
    """Send the traces of a process, `gateway` say, if the settings name an endpoint; after fork.

    Raises:
        ConfigurationError: a package is missing.
    """
    if settings.endpoint and _switch.on is None:
        _switch.on = _Tracing(settings, process)


def close() -> None:
    """Send what is left, within a few seconds, and stop; idempotent."""
    tracing, _switch.on = _switch.on, None
    if tracing is not None:
        tracing.close()


def enabled() -> bool:
    """Whether traces are sent."""
    return _switch.on is not None


def current() -> str:
    """Return the context of the step that this thread is in."""
    tracing = _switch.on
    return "" if tracing is None else tracing.text(tracing.api.get_current_span())


def note(attributes: Attributes) -> None:
    """Add attributes to the step that this thread is in."""
    tracing = _switch.on
    if tracing is not None:
        tracing.api.get_current_span().set_attributes(dict(attributes))


def link(context: str) -> None:
    """Link the step that this thread is in to another one, on whose work it relies."""
    tracing = _switch.on
    if tracing is not None:
        for one in tracing.links([context]):
            tracing.api.get_current_span().add_link(one.context)


def begin(name: str, parent: str, kind: Kind, attributes: Attributes = _NONE) -> Span | None:
    """Begin a span below another; None if that one is not followed."""
    tracing = _switch.on
    if tracing is None or (context := tracing.context(parent)) is None:
        return None
    return Span(tracing, tracing.open(name, context, kind, attributes))


def step(
    name: str,
    parents: Iterable[str] | None = None,
    *,
    kind: Kind = "internal",
    attributes: Attributes = _NONE,
    links: Sequence[str] = (),
) -> AbstractContextManager[None]:
    """Return a context manager: a step of this thread, as a span of every trace that it is part of.

    Args:
        name: of the step.
        parents: what it is done for; without them, the step that this thread is in.
        kind: whether it calls another process.
        attributes: of the span.
        links: other steps on whose work it relies.
    """
    tracing = _switch.on
    if tracing is None:
        return nullcontext()
    return tracing.step(name, [current()] if parents is None else parents, kind, attributes, links)


def request(name: str, parent: str, attributes: Attributes = _NONE) -> AbstractContextManager[None]:
    """Return a context manager: a request that this process answers.

    The caller's context, as it sent it, decides whether the trace is followed.
    """
    tracing = _switch.on
    return nullcontext() if tracing is None else tracing.request(name, parent, attributes)


def fail(error: str) -> None:
    """Mark the step that this thread is in as failed."""
    tracing = _switch.on
    if tracing is not None:
        tracing.fail(tracing.api.get_current_span(), error)


class _Tracing:
    """What is held while traces are sent."""

    def __init__(self, settings: TracingSettings, process: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            exporter = _exporter(settings.endpoint)
        except ImportError as error:
            raise ConfigurationError(
                f"tracing.endpoint is set: pip install 'embark[tracing]' ({error})"
            ) from None
        # Our own event says once what the exporter says of every attempt.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self.api: Final = trace
        self._propagator: Final = TraceContextTextMapPropagator()
        self._provider: Final = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(settings.ratio)),
            resource=Resource.create(
                {"service.name": f"embark-{process}", "service.version": __version__}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=_SEND_MS)
        )
        self._tracer: Final = self._provider.get_tracer("embark", __version__)

    def close(self) -> None:
        # A collector that hangs must not keep a process from ending.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_FLUSH_SECONDS)

    def text(self, span: otel.Span) -> str:
        """Return a span's context, empty if it is not followed."""
        found = span.get_span_context()
        if not found.is_valid or not found.trace_flags.sampled:
            return ""
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"

    def context(self, text: str) -> Context | None:
        """Read a context; None if it is none, or not followed."""
        read = self._read(text)
        found = self.api.get_current_span(read).get_span_context()
        return read if found.is_valid and found.trace_flags.sampled else None

    def links(self, contexts: Iterable[str]) -> list[otel.Link]:
        read = [found for one in contexts if (found := self.context(one)) is not None]
        return [self.api.Link(self.api.get_current_span(one).get_span_context()) for one in read]

    def open(
        self,
        name: str,
        context: Context,
        kind: Kind,
        attributes: Attributes,
        links: Sequence[otel.Link] = (),
    ) -> otel.Span:
        return self._tracer.start_span(
            name,
            context,
            self.api.SpanKind[kind.upper()],
            dict(attributes),
            links,
            record_exception=False,  # messages may quote inputs
            set_status_on_exception=False,
        )

    def fail(self, span: otel.Span, error: str) -> None:
        span.set_status(self.api.StatusCode.ERROR)
        span.set_attribute("error.type", error)

    @contextmanager
    def request(self, name: str, parent: str, attributes: Attributes) -> Iterator[None]:
        span = self.open(name, self._read(parent), "server", attributes)
        with self.api.use_span(span, True, False, False):
            yield

    @contextmanager
    def step(
        self,
        name: str,
        parents: Iterable[str],
        kind: Kind,
        attributes: Attributes,
        links: Sequence[str],
    ) -> Iterator[None]:
        """One span for each trace, below the first parent of that trace; the first is current."""
        by_trace: dict[str, str] = {}
        for one in parents:
            by_trace.setdefault(one[_TRACE_ID], one)
        contexts = [found for one in by_trace.values() if (found := self.context(one)) is not None]
        linked = self.links(links)
        spans = [self.open(name, one, kind, attributes, linked) for one in contexts]
        if not spans:
            yield
            return
        try:
            with self.api.use_span(spans[0], False, False, False):
                yield
        except Exception as error:
            for span in spans:
                self.fail(span, error.code if isinstance(error, EmbArkError) else "unexpected")
            raise
        finally:
            for span in spans:
                span.end()

    def _read(self, text: str) -> Context:
        return self._propagator.extract({HEADER: text[:_CONTEXT_CHARS]})


def _exporter(endpoint: str) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

    seldom = Seldom(60)

    class Exporter(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS and seldom.due():
                _log.warning("traces_not_sent", spans=len(spans))
            return result

    session = requests.Session()
    session.trust_env = False  # the way to a collector is not that to the internet
    return Exporter(endpoint, timeout=_EXPORT_SECONDS, session=session)
