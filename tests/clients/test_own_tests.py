"""The tests, lints and formats that a client has in its own language pass. Python's are tests/client."""

from pathlib import Path

import pytest

from tests.clients.languages import BUILD_SECONDS, EACH, Language, run


@pytest.mark.timeout(2 * BUILD_SECONDS)
@pytest.mark.parametrize("language", [param for param in EACH if param.id != "python"])
def test_a_clients_own_tests_pass(language: Language, tmp_path: Path) -> None:
    run(["/bin/sh", "-c", f"{language.build} && {language.own_tests}"], language.copied(tmp_path))
