"""Where metrics are fetched: whoever asks, and however badly, the server goes on, and its log stays quiet."""

import asyncio
import socket
import threading
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry, Metric

from factstr_server.cli.serving import settings_from
from factstr_server.server import Server, StartupError
from factstr_server.settings import Settings
from factstr_server.telemetry.endpoint import MetricsEndpoint
from tests.conformance.driver import NewFact
from tests.prometheus.scraping import samples, scrape, serving, value
from tests.waiting import until


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/metrics/", "/metrics/x", "/health"])
async def test_nothing_but_metrics_is_found(path: str) -> None:
    async with serving() as (_, _, address):
        with pytest.raises(HTTPError) as refused:
            await asyncio.to_thread(urlopen, f"http://{address}{path}")
        with refused.value as answer:
            assert answer.code == 404
            assert b"metrics are at /metrics" in answer.read()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
async def test_metrics_are_only_fetched(method: str) -> None:
    async with serving() as (_, _, address):
        with pytest.raises(HTTPError) as refused:
            await asyncio.to_thread(urlopen, Request(f"http://{address}/metrics", method=method))
        with refused.value as answer:
            assert answer.code == 501


async def test_a_query_after_the_path_changes_nothing() -> None:
    async with serving() as (_, _, address):
        with await asyncio.to_thread(urlopen, f"http://{address}/metrics?x=1") as answer:
            assert answer.status == 200
            assert answer.headers["content-type"].startswith("text/plain; version=")
            assert answer.headers["server"] == "factstr-server"


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        server = Server(Settings(store="memory:", listen=("127.0.0.1:0",), metrics_listen=address))
        with pytest.raises(StartupError) as refused:
            await server.start()
    assert str(refused.value) == (
        f"cannot listen on {address}: Address already in use; choose another with --metrics-listen"
    )


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
async def test_an_address_that_is_not_this_machines_is_one_clear_line(host: str) -> None:
    server = Server(Settings(store="memory:", listen=("127.0.0.1:0",), metrics_listen=f"{host}:0"))
    with pytest.raises(StartupError) as refused:
        await server.start()
    said = str(refused.value)
    assert said.startswith(f"cannot listen on {host}:0: ")
    assert said.endswith("; choose another with --metrics-listen")


def test_metrics_are_not_listened_for_on_a_unix_socket(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings_from(["--metrics-listen", "unix:/tmp/metrics"], {})
    assert "--metrics-listen unix:/tmp/metrics is no address; write host:port" in capsys.readouterr().err


async def test_slow_clients_hold_nothing_up() -> None:
    """Those that do not ask, that ask and read nothing, and that ask letter by letter."""
    async with serving() as (_, remote, address):
        host, _, port = address.rpartition(":")
        slow = [socket.create_connection((host, int(port))) for _ in range(60)]
        for number, each in enumerate(slow):
            each.sendall((b"", b"GET /metrics HTTP/1.1\r\n\r\n", b"GET /met")[number % 3])
        await remote.append([NewFact()])
        assert value(await samples(address), "factstr_head_sequence_number") == 1
        for each in slow:
            each.close()


async def test_more_clients_than_there_is_room_for_are_hung_up_on() -> None:
    async with serving() as (_, _, address):
        host, _, port = address.rpartition(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(100)]
        await until(lambda: _handlers() == 100, "all of them have a thread")
        with socket.create_connection((host, int(port)), timeout=5) as refused:
            assert await asyncio.to_thread(refused.recv, 1) == b""
        for each in idle:
            each.close()
        await until(lambda: _handlers() == 0, "all of them have gone")
        assert value(await samples(address), "factstr_store_available") == 1


async def test_clients_that_hang_up_leave_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving() as (_, _, address):
        host, _, port = address.rpartition(":")
        for request in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\n\r\n", b"\xff\x00" * 500, b"\r\n" * 9):
            for _ in range(5):
                with socket.create_connection((host, int(port))) as rude:
                    # Closed with a reset instead of a farewell.
                    rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    rude.sendall(request)
        await until(lambda: _handlers() == 0, "all of them are dealt with")
        assert value(await samples(address), "factstr_store_available") == 1
    assert capfd.readouterr() == ("", "")


def _handlers() -> int:
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


class Failing:
    """Of which nothing can be told."""

    def collect(self) -> list[Metric]:
        raise TimeoutError


def test_what_cannot_be_told_is_an_error_to_prometheus_and_one_line_in_the_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    registry.register(Failing())
    endpoint = MetricsEndpoint("127.0.0.1:0", registry)
    try:
        with pytest.raises(HTTPError) as refused:
            scrape(endpoint.address)
        with refused.value as answer:
            assert answer.code == 503
    finally:
        endpoint.close()
    [record] = caplog.records
    assert record.getMessage() == "metrics could not be told: TimeoutError()"
    assert record.exc_info is None
    assert capfd.readouterr() == ("", "")
