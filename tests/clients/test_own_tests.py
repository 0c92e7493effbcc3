"""The tests, lints and formats that a client has in its own language pass. Python's are tests/client."""

import pytest

from tests.clients.languages import BUILD_SECONDS, EACH, Language


@pytest.mark.timeout(2 * BUILD_SECONDS)
@pytest.mark.parametrize("language", [param for param in EACH if param.id != "python"])
def test_a_clients_own_tests_pass(language: Language) -> None:
    language.built()
    language.run(language.own_tests)
