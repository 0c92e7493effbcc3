"""Prometheus' metrics. Nothing is counted here: a scrape reads what the edge and the log have counted, in the event
loop, so that a call costs nothing more for being measured.

Names that begin with `grpc_server_` are those that gRPC servers usually have; `factstr_` ones are documented in
docs/operations.md, which a test holds against this list.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from factstr_server import __version__
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.log.event_log import EventLog
from factstr_server.log.figures import Histogram
from factstr_server.log.stream_positions import StreamState
from factstr_server.rpc.call import CODE_NAMES, Kind, Rpc
from factstr_server.rpc.edge import Edge

MOST_DURABLE_STREAMS: Final = 1_000
"""Of which a scrape tells the lag, by name; a name is a label, and labels are what Prometheus can have too many of."""

_STORE_SECONDS: Final = 3.0
_SCRAPE_SECONDS: Final = 8.0

_LABELS: Final = ("grpc_type", "grpc_service", "grpc_method")


class ServerMetrics(Collector):
    """Of one server. Made in its event loop, asked from other threads."""

    def __init__(
        self,
        log: EventLog,
        edge: Edge,
        store_answers: Callable[[], bool],
        certificate_expires: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._log = log
        self._edge = edge
        self._store_answers = store_answers
        self._certificate_expires = certificate_expires
        self._loop = asyncio.get_running_loop()
        self._telling = threading.Lock()
        self._told: list[Metric] = []
        self._collections = 0

    def collect(self) -> Iterable[Metric]:
        """In the thread of a scrape. Those that wait for another one are told what it is told: many at once must not
        make the server do nothing else.
        """
        asked_after = self._collections
        with self._telling:
            if self._collections == asked_after:
                collecting = asyncio.run_coroutine_threadsafe(self._collected(), self._loop)
                self._told = collecting.result(_SCRAPE_SECONDS)
                self._collections += 1
            return self._told

    async def _collected(self) -> list[Metric]:
        states = await self._durable_streams()
        return [
            *_calls(list(self._edge.rpcs)),
            *self._server(store_answers=states is not None),
            *self._commits(),
            *_durable_streams(states or ()),
        ]

    async def _durable_streams(self) -> Sequence[StreamState] | None:
        """None where the store does not answer soon: the rest can be told all the same."""
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                states, _ = await self._log.positions.list_from("", "", MOST_DURABLE_STREAMS)
        except (TimeoutError, Refusal):
            return None
        return states

    def _server(self, *, store_answers: bool) -> Iterator[Metric]:
        info, figures = self._log.info, self._log.figures
        yield InfoMetricFamily(
            "factstr_server",
            "The server's version, and the store that it serves.",
            {"version": __version__, "store_kind": info.kind, "store_id": info.store_id},
        )
        available = store_answers and self._store_answers()
        yield _gauge("factstr_store_available", "1 while the store answers, else 0.", available)
        expires = self._certificate_expires()
        if expires is not None:
            yield _gauge(
                "factstr_tls_certificate_expires_timestamp_seconds",
                "When the server's certificate expires, in seconds since 1970.",
                expires,
            )
        yield _gauge("factstr_draining", "1 while the server ends, else 0.", self._edge.draining)
        yield _gauge("factstr_head_sequence_number", "The highest sequence number in the log.", figures.head)
        yield _gauge("factstr_queued_appends", "Appends that wait for their commit.", figures.queued_appends)
        yield _gauge("factstr_queued_append_bytes", "Bytes that these count for.", figures.queued_bytes)
        yield _gauge(
            "factstr_tail_batches", "The newest batches, kept in memory for streams.", figures.tail_batches
        )
        yield _gauge("factstr_tail_bytes", "Bytes that these count for.", figures.tail_bytes)
        streams = GaugeMetricFamily(
            "factstr_streams", "Calls under way that may last, by kind.", labels=["kind"]
        )
        for rpc in self._edge.rpcs:
            if rpc.kind is Kind.STREAM:
                streams.add_metric([_snake(rpc.name)], rpc.figures.under_way)
        yield streams
        failures = CounterMetricFamily(
            "factstr_failures", "Calls that have failed, by the reason in their ErrorInfo.", labels=["reason"]
        )
        for reason in Reason:
            failures.add_metric([reason], self._edge.refusals[reason])
        yield failures

    def _commits(self) -> Iterator[Metric]:
        commits = self._log.figures.commits
        for name, meaning, value in (
            ("appends_committed", "Appends that were committed by this server.", commits.appends),
            ("events_committed", "Facts that were committed by this server.", commits.events),
            ("conflicts", "Conditional appends whose context had changed.", commits.conflicts),
            (
                "repeated_appends",
                "Appends whose idempotency key gave the first result again.",
                commits.repeats,
            ),
            (
                "reused_keys",
                "Appends whose idempotency key belonged to another request.",
                commits.keys_reused,
            ),
            ("cursors_moved", "Cursors of durable streams that were moved.", commits.cursors_moved),
            (
                "failed_commits",
                "Groups that the store did not take, or cannot tell of.",
                commits.failed_groups,
            ),
        ):
            yield CounterMetricFamily(f"factstr_{name}", meaning, value)
        yield _histogram(
            "factstr_group_size", "Appends and moved cursors that one commit gathers.", commits.group_size
        )
        yield _histogram("factstr_commit_seconds", "What one commit takes.", commits.seconds)


def registry_of(metrics: ServerMetrics) -> CollectorRegistry:
    """The server's metrics, and those of its process that every Prometheus client in Python has."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _calls(rpcs: Sequence[Rpc]) -> Iterator[Metric]:
    started = CounterMetricFamily("grpc_server_started", "Calls that have begun.", labels=_LABELS)
    handled = CounterMetricFamily(
        "grpc_server_handled", "Calls that have ended, by status code.", labels=(*_LABELS, "grpc_code")
    )
    received = CounterMetricFamily("grpc_server_msg_received", "Messages from clients.", labels=_LABELS)
    sent = CounterMetricFamily("grpc_server_msg_sent", "Messages to clients.", labels=_LABELS)
    seconds = HistogramMetricFamily(
        "grpc_server_handling_seconds", "How long calls took, streams from beginning to end.", labels=_LABELS
    )
    for rpc in rpcs:
        labels = [rpc.grpc_type, rpc.service, rpc.name]
        figures = rpc.figures
        started.add_metric(labels, figures.started)
        received.add_metric(labels, figures.received)
        sent.add_metric(labels, figures.sent)
        for code, calls in figures.codes.items():
            handled.add_metric([*labels, _camel(CODE_NAMES[code])], calls)
        seconds.add_metric(labels, _buckets(figures.seconds), figures.seconds.sum)
    return iter((started, handled, received, sent, seconds))


def _durable_streams(states: Sequence[StreamState]) -> Iterator[Metric]:
    events = GaugeMetricFamily(
        "factstr_durable_stream_lag_events",
        "Facts between a durable stream's cursor and the head.",
        labels=["durable_stream"],
    )
    seconds = GaugeMetricFamily(
        "factstr_durable_stream_lag_seconds",
        "The age of the first fact after a durable stream's cursor; 0 at the head.",
        labels=["durable_stream"],
    )
    active = GaugeMetricFamily(
        "factstr_durable_stream_active",
        "1 while a consumer holds a durable stream's lease, else 0.",
        labels=["durable_stream"],
    )
    for state in states:
        labels = [state.durable_stream]
        events.add_metric(labels, state.head - state.cursor)
        seconds.add_metric(labels, state.lag_microseconds / 1e6)
        active.add_metric(labels, float(state.holder is not None))
    return iter((events, seconds, active))


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, float(value))


def _histogram(name: str, meaning: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(name, meaning)
    family.add_metric([], _buckets(histogram), histogram.sum)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, accumulate(histogram.counts), strict=True))


def _camel(code: str) -> str:
    """As the usual metrics write status codes: OK, NotFound, DeadlineExceeded."""
    return code if code == "OK" else "".join(word.capitalize() for word in code.split("_"))


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
