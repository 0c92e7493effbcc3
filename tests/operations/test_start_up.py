"""A start that fails says why in one line, at once, and leaves nothing behind."""

import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import apsw
import pytest

from factstr_server.stores.sqlite.database import APPLICATION_ID
from tests.operations.process import ServerProcess
from tests.waiting import wait_until

Start: TypeAlias = tuple[list[str], str]
"""Flags that do not work, and what is said of them."""


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def port_taken(_: Path, port: int) -> Start:
    return ["--listen", f"127.0.0.1:{port}"], f"cannot listen on 127.0.0.1:{port}: the address is taken"


def one_of_several_taken(_: Path, port: int) -> Start:
    listen = ["--listen", "127.0.0.1:0", "--listen", f"127.0.0.1:{port}"]
    return listen, f"cannot listen on 127.0.0.1:{port}: the address is taken"


def metrics_port_taken(_: Path, port: int) -> Start:
    return ["--metrics-listen", f"127.0.0.1:{port}"], "choose another with --metrics-listen"


def health_port_taken(_: Path, port: int) -> Start:
    return ["--health-listen", f"127.0.0.1:{port}"], "choose another with --health-listen"


def no_folder_for_the_socket(folder: Path, _: int) -> Start:
    return ["--listen", f"unix:{folder}/none/s"], f"there is no folder {folder}/none"


def a_file_where_the_socket_would_be(folder: Path, _: int) -> Start:
    (folder / "file").write_text("mine")
    return ["--listen", f"unix:{folder}/file"], "there is a file, which is no socket"


def a_path_too_long_for_a_socket(folder: Path, _: int) -> Start:
    return ["--listen", f"unix:{folder}/{'x' * 108}"], "a socket's path has at most 107 bytes"


def newer_format(folder: Path, _: int) -> Start:
    with closing(apsw.Connection(str(folder / "new.db"))) as file:
        file.execute(
            f"PRAGMA user_version = 99; PRAGMA application_id = {APPLICATION_ID}; CREATE TABLE t (x)"
        )
    return ["--store", f"sqlite:///{folder}/new.db"], "written by a newer version"


def no_certificate(folder: Path, _: int) -> Start:
    flags = ["--tls-cert", str(folder / "none.crt"), "--tls-key", str(folder / "none.key")]
    return flags, f"cannot read {folder}/none.crt: No such file or directory"


def no_tokens(folder: Path, _: int) -> Start:
    return ["--tokens-file", str(folder / "none")], f"the tokens file {folder}/none: cannot be read"


@pytest.mark.parametrize(
    "wrong",
    [
        port_taken,
        one_of_several_taken,
        metrics_port_taken,
        health_port_taken,
        no_folder_for_the_socket,
        a_file_where_the_socket_would_be,
        a_path_too_long_for_a_socket,
        newer_format,
        no_certificate,
        no_tokens,
    ],
)
def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path, wrong: Callable[[Path, int], Start]) -> None:
    with taken_port() as port:
        flags, expected = wrong(tmp_path, port)
        store = [] if "--store" in flags else ["--store", f"sqlite:///{tmp_path}/facts.db"]
        listen = [] if "--listen" in flags else ["--listen", "127.0.0.1:0"]
        with ServerProcess(tmp_path / "log", *store, *listen, *flags) as server:
            assert server.ended() == 1
            [line] = server.said.splitlines()
    assert line.startswith("factstr-server: ")
    assert expected in line
    assert "Traceback" not in line


def test_a_store_and_a_socket_that_another_server_has_are_refused_and_left_to_it(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/s"
    store = f"sqlite:///{tmp_path}/facts.db"
    with ServerProcess(tmp_path / "log", "--store", store, "--listen", target) as first:
        first.ready()
        for flags, expected in (
            (["--store", store, "--listen", "127.0.0.1:0"], "is in use by another server"),
            (["--store", "memory:", "--listen", target], "another server answers there"),
        ):
            with ServerProcess(tmp_path / "log2", *flags) as second:
                assert second.ended() == 1
                [line] = second.said.splitlines()
                assert expected in line
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(f"{tmp_path}/s")
        assert first.runs


def test_a_socket_that_a_killed_server_has_left_is_taken_over(tmp_path: Path) -> None:
    flags = ["--store", "memory:", "--listen", f"unix:{tmp_path}/s"]
    with ServerProcess(tmp_path / "log", *flags) as killed:
        killed.ready()
    assert (tmp_path / "s").is_socket()
    with ServerProcess(tmp_path / "log", *flags) as server:
        server.ready()
        wait_until((tmp_path / "s").is_socket, "it listens")
