"""Adapters that live as long as the session: a virtual machine for each case would take most of the time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.clients.adapter import Adapter
from tests.clients.languages import Language


@pytest.fixture(scope="session")
def adapters() -> Iterator[Callable[[Language], Adapter]]:
    """The adapter of a language, which is built and started when it is first asked for."""
    with ExitStack() as stack:
        started: dict[str, Adapter] = {}

        def adapter(language: Language) -> Adapter:
            if language.name not in started:
                started[language.name] = stack.enter_context(Adapter(language))
            return started[language.name]

        yield adapter


@pytest.fixture
def adapter(adapters: Callable[[Language], Adapter], language: Language) -> Adapter:
    return adapters(language)
