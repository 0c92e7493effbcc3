"""Building a client, for the tests of the clients."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.languages import LANGUAGES


def test_a_build_that_fails_is_tried_once_and_each_case_says_why(tmp_path: Path) -> None:
    log = tmp_path / "builds"
    broken = replace(
        LANGUAGES[0], build=f"echo began >> {shlex.quote(str(log))}; echo no such compiler; false"
    )
    for _ in range(2):
        with pytest.raises(AssertionError, match="no such compiler"):
            broken.built()
    assert log.read_text() == "began\n"
