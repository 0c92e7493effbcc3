"""Passwords in URLs: nothing that the command prints shows one, and libpq gets them as they were written."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from factstr_server.cli import main
from factstr_server.stores.offline import source_by_url, target_by_url
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.postgres.location import location_of, shown_url
from factstr_server.stores.protocol import StoreError, StoreOptions
from tests.postgres.fresh import fresh_url
from tests.service.test_command_line import ends

SECRET_URLS = (
    "postgresql://user:hush@127.0.0.1:1/db",
    "postgresql://user:hush@127.0.0.1:1,127.0.0.1:2/db?schema=x",
    "postgresql://127.0.0.1:1/db?user=u&password=hush",
    "postgresql://127.0.0.1:1/db?user=u&sslpassword=hush",
    "postgresql://127.0.0.1:1/db?pass%77ord=hush",
    "postgresql://user:hu%zzsh-hush@127.0.0.1:1/db",
    "postgresql://user:hush@[127.0.0.1:1/db",
    "postgresql://user:pa/hush@127.0.0.1:1/db",
    "postgresql://user:pa?hush@127.0.0.1:1/db",
    "postgresql://user:pa#hush@127.0.0.1:1/db",
    "postgresql://user:pa@hush@127.0.0.1:1/db",
    "postgresql://user:hush@127.0.0.1:1/db?nonsense=1",
    "postgresql://user:hush@127.0.0.1:1/db?schema=",
    "postgresql://user:hush@127.0.0.1:1/db?listen=perhaps",
    "postgres://user:hush@127.0.0.1:1/db",
    "mysql://user:hush@host/db",
    "sqlite://user:hush@host/x.db",
    "user:hush@host",
)


@pytest.mark.parametrize("url", SECRET_URLS)
def test_no_password_is_printed_whatever_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")  # so that the command leaves the environment as it is
    assert "hush" not in shown_url(url)
    for by_url in (source_by_url, target_by_url, location_of, opened_by_url):
        assert "hush" not in problem(by_url, url)
    for arguments in (
        ["--store", url, "--listen", "unix:/no/folder/x.sock"],
        ["migrate", "--store", url],
        ["copy", "--from", url, "--to", "sqlite:///x.db"],
        ["copy", "--from", "sqlite:///none.db", "--to", url],
    ):
        assert main(arguments) == 1
    for arguments in (
        ["--store", "memory:", "--read-store", url],
        ["--store", url, "--read-store", "memory:"],
        [url],
        ["--stor", url],
        [f"--stor={url}"],
        ["migrate", "--store", "memory:", url],
    ):
        assert ends(arguments) == 2
    said = capsys.readouterr()
    assert "hush" not in said.err + said.out
    assert "Traceback" not in said.err


def problem(by_url: Callable[[str], object], url: str) -> str:
    """Why there is no store of this URL, if there is none."""
    try:
        by_url(url)
    except StoreError as error:
        return str(error)
    return ""


def opened_by_url(url: str) -> object:
    return store_by_url(url, StoreOptions())


def test_what_is_no_secret_is_printed_as_it_was_given() -> None:
    for url in (
        *("memory:", "sqlite:///factstr.db", "sqlite:////var/lib/a@b:c.db", "postgresql:///db"),
        "postgresql://app@db1:5432,db2:5432/facts?schema=x%20y&listen=off&options=-c%20a%3Db",
    ):
        assert shown_url(url) == url
    assert shown_url("postgresql://u:p@h/d?schema=x") == "postgresql://u:***@h/d?schema=x"


def test_a_password_reaches_libpq_as_it_was_written() -> None:
    for url in (
        "postgresql://u:a%2Fb+c%40@h/d?schema=x",
        "postgresql://u@h/d?password=a%2Fb+c%40&listen=off",
    ):
        assert "password=a/b+c@" in location_of(url).conninfo
    assert "hush" not in repr(location_of("postgresql://u:hush@h/d"))


async def test_the_line_that_a_server_starts_with_shows_no_password(tmp_path: Path) -> None:
    url = f"{fresh_url(tmp_path)}&sslpassword=hush"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "factstr_server", "--store", url, "--listen", "127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("FACTSTR_")},
    )
    assert process.stderr
    line = (await process.stderr.readline()).decode()
    process.terminate()
    await process.communicate()
    assert f" serves {shown_url(url)} (head 0) on 127.0.0.1:" in line
    assert line.count("hush") == 0
    assert "sslpassword=***" in line
