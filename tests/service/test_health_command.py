"""`factstr-server health`: what it asks whom, what it says, and that it loads only what that takes."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health as served_health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from factstr_server.cli.flags import Failure
from factstr_server.cli.health import health, served_at

STORE = "factstr.v1.EventStoreService"


class Served:
    """Health services on a port and on a Unix socket; what is well lives, and its store does not answer."""

    def __init__(self, folder: Path) -> None:
        self.server = grpc.server(ThreadPoolExecutor(1))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.socket = f"unix:{folder}/health.sock"
        self.server.add_insecure_port(self.socket)
        servicer = served_health.HealthServicer()
        servicer.set(STORE, HealthCheckResponse.NOT_SERVING)
        add_HealthServicer_to_server(servicer, self.server)
        self.server.start()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.server.stop(None).wait()


def test_a_server_that_serves_is_told(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"127.0.0.1:{served.port}"
    health(["--target", target], {})
    assert capsys.readouterr().out == f"the server at {target} is SERVING\n"


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (STORE, f"{STORE} at TARGET is NOT_SERVING"),
        ("factstr.v1.Nothing", f"the server at TARGET has no service 'factstr.v1.Nothing'; one is {STORE}"),
    ],
)
def test_a_service_that_does_not_serve_is_a_failure(served: Served, service: str, expected: str) -> None:
    with pytest.raises(Failure) as failed:
        health(["--target", served.socket, "--service", service], {})
    assert str(failed.value) == expected.replace("TARGET", served.socket)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(
    "variables",
    [
        {"FACTSTR_LISTEN": "HOST:PORT, unix:/nobody.sock"},
        {"FACTSTR_HEALTH_LISTEN": "HOST:PORT", "FACTSTR_LISTEN": "127.0.0.1:1"},
    ],
    ids=["the first of --listen", "--health-listen before --listen"],
)
def test_the_servers_variables_say_where_it_is(
    served: Served, capsys: pytest.CaptureFixture[str], variables: dict[str, str], host: str
) -> None:
    values = {
        name: value.replace("HOST", host).replace("PORT", str(served.port))
        for name, value in variables.items()
    }
    health([], values)
    assert f"at 127.0.0.1:{served.port} is SERVING" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listen", "asked"), [("", "127.0.0.1:50051"), ("[::]:2", "[::1]:2"), ("unix:/a:b, [::]:2", "unix:/a:b")]
)
def test_an_address_is_asked_as_this_machine_reaches_it(listen: str, asked: str) -> None:
    assert served_at({"FACTSTR_LISTEN": listen}) == asked


def test_where_nobody_listens_is_told(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/nobody.sock"
    with pytest.raises(Failure, match=f"no server answers plain gRPC at {target}; --target takes"):
        health(["--target", target], {})


def test_a_server_that_says_nothing_is_waited_for_as_long_as_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = "{}:{}".format(*silent.getsockname())
        with pytest.raises(Failure, match=f"no answer from {target} within 0.2 s"):
            health(["--target", target, "--timeout", "0.2"], {})


def test_a_proxy_of_the_environment_is_not_asked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    health(["--target", f"127.0.0.1:{served.port}"], {})


def test_a_probe_loads_no_store_and_not_the_server(served: Served) -> None:
    program = (
        "import sys\n"
        "from factstr_server.cli import main\n"
        f"assert main(['health', '--target', {served.socket!r}]) == 0\n"
        "print(sorted({'apsw', 'psycopg', 'uvloop', 'factstr_server.server'} & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == [f"the server at {served.socket} is SERVING", "[]"]
