"""Spans for OpenTelemetry: a call, its commit, and each delivery of what it has committed, in one trace.

    factstr.v1.EventStoreService/Append     as the caller's `traceparent` says
      factstr.commit                        the group's commit, told in each traced append of it
        factstr.deliver                     one for each stream that the batch was sent to, linked to the stream's call

OpenTelemetry is an extra (`factstr-server[tracing]`); what the spans are sent to, and how many calls are traced, is
said by its own OTEL_* variables. Nothing of a fact stands in a span but its sequence number.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from factstr_server import __version__

_REMEMBERED: Final = 10_000
"""Commits whose deliveries are told. A stream that reads further back replays, which is no part of a commit."""

_DELIVERIES_OF_A_MESSAGE: Final = 32


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins."""
    said = Resource.create({"service.version": __version__})
    if str(said.attributes.get("service.name", "")).startswith("unknown_service"):
        return said.merge(Resource({"service.name": "factstr-server"}))
    return said


class OpenTelemetryTracing:
    """A `log.tracing.Tracing`. Used in one event loop, but for `close`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("factstr_server", __version__)
        self._propagator = TraceContextTextMapPropagator()
        # Of the newest traced commits, in order: the last sequence number of each, and its span.
        self._lasts: list[int] = []
        self._commits: list[SpanContext] = []

    @classmethod
    def exporting(cls) -> "OpenTelemetryTracing":
        """Sends spans where OTEL_EXPORTER_OTLP_* say, over HTTP."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def close(self) -> None:
        """Sends what is left. May take a moment."""
        self._provider.shutdown()

    def call(self, rpc: str, headers: Iterable[tuple[str, str | bytes]]) -> Callable[[int], None]:
        carrier = {key: value for key, value in headers if isinstance(value, str)}
        service, _, method = rpc.rpartition(".")
        span = self._tracer.start_span(
            f"{service}/{method}",
            context=self._propagator.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        token = contexts.attach(trace.set_span_in_context(span))

        def end(code: int) -> None:
            span.set_attribute("rpc.grpc.status_code", code)
            if code:
                span.set_status(Status(StatusCode.ERROR))
            span.end()
            contexts.detach(token)

        return end

    def origin(self) -> SpanContext | None:
        span = trace.get_current_span().get_span_context()
        return span if span.trace_flags.sampled else None

    def committed(self, origin: object, first: int, last: int, *, group_size: int, began: int) -> None:
        assert isinstance(origin, SpanContext), "as given by `origin`"
        span = self._tracer.start_span(
            "factstr.commit",
            context=trace.set_span_in_context(NonRecordingSpan(origin)),
            start_time=began,
            attributes={
                "factstr.first_sequence_number": first,
                "factstr.last_sequence_number": last,
                "factstr.group_size": group_size,
            },
        )
        span.end()
        self._remember(last, span.get_span_context())

    def delivered(self, ranges: Sequence[tuple[int, int]], began: int) -> None:
        stream = trace.get_current_span().get_span_context()
        links = [Link(stream)] if stream.is_valid else []
        now = time.time_ns()
        for commit, last in self._commits_in(ranges):
            self._tracer.start_span(
                "factstr.deliver",
                context=trace.set_span_in_context(NonRecordingSpan(commit)),
                start_time=began,
                links=links,
                attributes={"factstr.last_sequence_number": last},
            ).end(now)

    def _commits_in(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[SpanContext, int]]:
        found: list[tuple[SpanContext, int]] = []
        for first, last in ranges:
            place = bisect_left(self._lasts, first)
            while (
                place < len(self._lasts)
                and self._lasts[place] <= last
                and len(found) < _DELIVERIES_OF_A_MESSAGE
            ):
                found.append((self._commits[place], self._lasts[place]))
                place += 1
        return found

    def _remember(self, last: int, commit: SpanContext) -> None:
        if self._lasts and last <= self._lasts[-1]:
            # The log has lost its end: what was remembered of it is void.
            self._lasts.clear()
            self._commits.clear()
        self._lasts.append(last)
        self._commits.append(commit)
        if len(self._lasts) > 2 * _REMEMBERED:
            del self._lasts[:_REMEMBERED], self._commits[:_REMEMBERED]
