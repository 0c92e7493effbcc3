"""docs/clients.md shows what grpcurl really does: each of its commands runs, in order, and answers as it says there."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from factstr_server.access.roles import Role
from tests.architecture.repository import ROOT
from tests.operations.process import ServerProcess
from tests.programs import PROGRAMS
from tests.readme.console import Step, steps
from tests.security.conftest import Tls, Tokens

PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")

TOKEN = re.compile(r'(?<="acknowledgementToken": ")[\w-]+')
VARYING = re.compile(
    r"\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=\"lag\": \")\d+\.\d+s"
    rf"|{TOKEN.pattern}"
)


def shown(program: str) -> list[Step]:
    return [step for step in steps(PAGE) if step.command.startswith(f"{program} ")]


def same(text: str) -> str:
    return VARYING.sub("…", text).strip()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What the page names, and what is there instead: one server in plaintext, one with TLS and tokens."""
    socket = tmp_path / "factstr.sock"
    tls, tokens = Tls(tmp_path), Tokens(tmp_path / "tokens")
    plain = ServerProcess(
        tmp_path / "plain",
        f"--store=sqlite:///{tmp_path}/a.db",
        "--listen=localhost:0",
        f"--listen=unix:{socket}",
    )
    token = tokens.add("somebody", Role.READER)
    secured = ServerProcess(
        tmp_path / "secured",
        "--store=memory:",
        "--listen=localhost:0",
        f"--tls-cert={tls.cert}",
        f"--tls-key={tls.key}",
        f"--tokens-file={tokens.path}",
    )
    with plain, secured:
        yield {
            "localhost:50051": plain.ready().address,
            "/run/factstr/factstr.sock": str(socket),
            "facts.example.com:50051": secured.ready().address,
            "ca.pem": str(tls.ca),
            "$TOKEN": token,
        }


def run(command: str, servers: dict[str, str]) -> str:
    for name, there in servers.items():
        command = command.replace(name, there)
    program = PROGRAMS["grpcurl"].found()
    assert program
    done = subprocess.run(
        ["/bin/sh", "-c", f'grpcurl() {{ "{program}" "$@"; }}; {command}'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    # The page says how streams end, and how errors are shown.
    if "-max-time" in command:
        assert "DeadlineExceeded" in done.stderr
    elif "-format-error" in command:
        return done.stdout + done.stderr
    else:
        assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.grpcurl
def test_every_grpcurl_command_of_the_page_does_what_the_page_shows(servers: dict[str, str]) -> None:
    for command, output in shown("grpcurl"):
        printed = run(command, servers)
        servers |= dict(zip(TOKEN.findall(output), TOKEN.findall(printed), strict=True))
        expected, cut, _ = output.partition("…\n")
        actual = same(printed)
        assert actual.startswith(same(expected)) if cut else actual == same(expected), (command, printed)


def test_every_call_of_the_services_is_on_the_page() -> None:
    called = {command.rpartition("/")[2] for command, _ in shown("grpcurl")}
    offered = {
        name
        for path in (ROOT / "proto").rglob("*.proto")
        for name in re.findall(r"^  rpc (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert offered - called == set()


@pytest.mark.protoc
def test_the_protoc_commands_of_the_page_make_stubs(tmp_path: Path) -> None:
    program = PROGRAMS["protoc"].found()
    assert program
    for number, (command, _) in enumerate(shown("protoc")):
        generated = tmp_path / str(number)
        generated.mkdir()
        there = command.replace("=generated", f"={generated}").replace("protoc ", f'"{program}" ', 1)
        subprocess.run(["/bin/sh", "-c", there], cwd=ROOT, check=True, timeout=30)
        assert list(generated.rglob("*")), command
