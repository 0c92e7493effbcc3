"""A real Prometheus scrapes a server at work, and is asked what it has seen."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final, NamedTuple
from urllib.request import urlopen

import pytest
import pytest_asyncio

from tests.conformance.driver import NewFact, of_type, refused
from tests.prometheus.dashboard import expressions, filled_in
from tests.prometheus.programs import Prometheus, prometheus, promtool
from tests.sharing.servers import Remote, server_processes

pytestmark = [pytest.mark.prometheus, pytest.mark.asyncio(loop_scope="module")]

BEHIND: Final = 'größer "als" \\ 注文'
"""A durable stream whose consumer acknowledges nothing, with a name that has to be escaped."""
ACKNOWLEDGED: Final = "orders"
LEFT: Final = "left"
"""One whose consumer has gone."""

EVENTS: Final = 24
"""Of `work`, once."""


class Scene(NamedTuple):
    prometheus: Prometheus
    metrics: str
    """Where the server's are."""

    @property
    def scraped(self) -> str:
        with urlopen(self.metrics) as response:
            text: bytes = response.read()
        return text.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """A server with streams open, worked on twice: before Prometheus has seen it and after."""
    folder = tmp_path_factory.mktemp("scraped")
    with server_processes("memory:", folder, 1, "--metrics-listen", "127.0.0.1:0") as [server]:
        address = server.metrics_address()
        async with Remote(server.address()) as remote, AsyncExitStack() as stack:
            async with remote.stream_all_durable(LEFT) as left:
                await left.started()
            streams = [
                remote.stream_all_durable(ACKNOWLEDGED),
                remote.stream_all_durable(BEHIND),
                remote.stream_all(),
                remote.stream_all(),
                remote.stream_to(of_type("single")),
            ]
            for stream in streams:
                await (await stack.enter_async_context(stream)).started()
            await work(remote, "first")
            with prometheus(address, folder) as seen:
                await asyncio.to_thread(seen.wait_until, "factstr_events_committed_total", EVENTS)
                await work(remote, "second")
                batches = await streams[0].batches(30)
                await remote.acknowledge(ACKNOWLEDGED, batches[-1].token)
                await asyncio.to_thread(seen.wait_until, lag_of(ACKNOWLEDGED), 0)
                yield Scene(seen, f"http://{address}/metrics")


def lag_of(durable_stream: str) -> str:
    return f'factstr_durable_stream_lag_events{{durable_stream="{durable_stream}"}}'


async def work(remote: Remote, key: str) -> None:
    """24 facts in 15 appends; 3 conflicts, 2 empty appends, a repeat, a key used for something else, and 4 queries."""
    for _ in range(12):
        await remote.append([NewFact("single")])
    await remote.append([NewFact("of ten")] * 10)
    context = of_type(key)
    await remote.append_if([NewFact(key)], context, None)
    for _ in range(3):
        with refused("CONDITIONAL_APPEND_CONFLICT"):
            await remote.append_if([NewFact(key)], context, None)
    for _ in range(2):
        with refused("EMPTY_APPEND"):
            await remote.append([])
    for _ in range(2):
        await remote.append([NewFact("keyed")], key=key)
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await remote.append([NewFact("otherwise")], key=key)
    for _ in range(4):
        await remote.query(context)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("up", 1),
        ("factstr_store_available", 1),
        ("factstr_draining", 0),
        ('factstr_server_info{store_kind="memory"}', 1),
        ("factstr_head_sequence_number", 2 * EVENTS),
        ("factstr_events_committed_total", 2 * EVENTS),
        ("factstr_appends_committed_total", 30),
        ("factstr_conflicts_total", 6),
        ("factstr_repeated_appends_total", 2),
        ("factstr_reused_keys_total", 2),
        ("factstr_failed_commits_total", 0),
        ("factstr_group_size_sum - factstr_cursors_moved_total", 40),
        ("factstr_group_size_count - factstr_commit_seconds_count", 0),
        ("factstr_tail_batches", 30),
        ('factstr_streams{kind="stream_all"}', 2),
        ('factstr_streams{kind="stream_to"}', 1),
        ('factstr_streams{kind="stream_all_durable"}', 2),
        ('factstr_streams{kind="query"}', 0),
        ('factstr_failures_total{reason="CONDITIONAL_APPEND_CONFLICT"}', 6),
        ('factstr_failures_total{reason="EMPTY_APPEND"}', 4),
        ("sum(factstr_failures_total)", 12),
        ('grpc_server_started_total{grpc_method="Append"}', 36),
        ('grpc_server_handled_total{grpc_method="Append", grpc_code="OK"}', 30),
        ('grpc_server_handled_total{grpc_method="Append", grpc_code="InvalidArgument"}', 4),
        ('grpc_server_handled_total{grpc_method="Append", grpc_code="AlreadyExists"}', 2),
        ('grpc_server_handled_total{grpc_method="AppendIf", grpc_code="Aborted"}', 6),
        ('grpc_server_handled_total{grpc_method="Query", grpc_code="OK"}', 8),
        ('grpc_server_msg_received_total{grpc_method="Query"}', 8),
        ('grpc_server_msg_sent_total{grpc_method="Query"}', 8),
        ('grpc_server_handling_seconds_count{grpc_method="AppendIf"}', 8),
        ("factstr_cursors_moved_total", 1),
        (lag_of(ACKNOWLEDGED), 0),
        (f'factstr_durable_stream_lag_seconds{{durable_stream="{ACKNOWLEDGED}"}}', 0),
        (f'factstr_durable_stream_active{{durable_stream="{ACKNOWLEDGED}"}}', 1),
        (lag_of(LEFT), 2 * EVENTS),
        (f'factstr_durable_stream_active{{durable_stream="{LEFT}"}}', 0),
    ],
)
async def test_prometheus_has_seen_what_was_done(scene: Scene, expression: str, value: float) -> None:
    assert scene.prometheus.value(expression) == value


async def test_prometheus_has_seen_the_names_of_durable_streams_as_they_are(scene: Scene) -> None:
    found = scene.prometheus.query("factstr_durable_stream_lag_events")
    lags = {sample.labels["durable_stream"]: sample.value for sample in found}
    assert lags == {BEHIND: 2 * EVENTS, ACKNOWLEDGED: 0, LEFT: 2 * EVENTS}


async def test_prometheus_has_seen_a_stream_fall_back_by_the_second(scene: Scene) -> None:
    lag = f'factstr_durable_stream_lag_seconds{{durable_stream="{LEFT}"}}'
    before = scene.prometheus.value(lag)
    assert before is not None
    await asyncio.to_thread(scene.prometheus.wait_until, f"{lag} > bool {before}", 1)


@pytest.mark.parametrize(
    "metric",
    [
        'grpc_server_handling_seconds_bucket{grpc_method="Append"}',
        "factstr_commit_seconds_bucket",
        "factstr_group_size_bucket",
    ],
)
async def test_quantiles_can_be_computed(scene: Scene, metric: str) -> None:
    quantiles = [
        scene.prometheus.value(f"histogram_quantile({quantile}, sum by (le) (rate({metric}[1m])))")
        for quantile in (0.5, 0.95, 0.99)
    ]
    numbers = [quantile for quantile in quantiles if quantile is not None and math.isfinite(quantile)]
    assert quantiles == sorted(numbers)
    assert quantiles[0]


async def test_promtool_finds_nothing_to_say_of_the_metrics(scene: Scene) -> None:
    checked = promtool("check", "metrics", text=scene.scraped)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


async def test_promtool_would_have_something_to_say_of_a_wrong_name(scene: Scene) -> None:
    wrong = scene.scraped.replace("factstr_conflicts_total", "factstr_conflicts")
    assert "counter metrics should have" in promtool("check", "metrics", text=wrong).stderr


@pytest.mark.parametrize("panel", expressions())
async def test_every_panel_of_the_dashboard_shows_something(scene: Scene, panel: str) -> None:
    assert scene.prometheus.query(filled_in(expressions()[panel]))
