"""Runs the command `factstr` inside the tests, against the fake server."""

import io
import json
from dataclasses import dataclass
from typing import Any

import pytest

from factstr.cli import main
from tests.client.fake_server import FakeServer


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


class Command:
    """`factstr`, with the fake server as its target."""

    def __init__(
        self, fake: FakeServer, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self._capture = capture
        self._patch = patch
        patch.setenv("FACTSTR_TARGET", fake.target)
        # Otherwise the command sets it, for all tests that follow.
        patch.setenv("GRPC_VERBOSITY", "NONE")

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Ended:
        self._patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = self._capture.readouterr()
        return Ended(code, captured.out, captured.err)
