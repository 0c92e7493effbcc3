"""What every test shares: hypothesis profiles, which programs it takes, and the end of its schemas in PostgreSQL. All
other fixtures live beside their tests.

`default` remembers failing examples in .hypothesis/ and tries them first. `ci`, chosen when CI is set, tries
more examples from a seed that it prints; `--hypothesis-profile=ci --hypothesis-seed=N` repeats such a run.
Neither has a deadline: a busy machine is no failure.
"""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

# Tests start processes while gRPC runs: its handlers of a fork would end the new process before it is another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pytest
from hypothesis import settings

from tests.postgres.fresh import drop_schemas

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, max_examples=200)
settings.load_profile("ci" if os.environ.get("CI") else "default")


class Program(NamedTuple):
    """A program that tests with a marker take."""

    name: str
    variable: str
    """Says where it is; else it is looked for on the path."""
    description: str

    @property
    def there(self) -> bool:
        return bool(os.environ.get(self.variable) or shutil.which(self.name))


PROGRAMS: Final = {
    "grpcurl": Program(
        "grpcurl", "FACTSTR_TEST_GRPCURL", "a real grpcurl (FACTSTR_TEST_GRPCURL, or on the path)"
    ),
    "prometheus": Program(
        "promtool",
        "FACTSTR_TEST_PROMETHEUS",
        "a real Prometheus with promtool (FACTSTR_TEST_PROMETHEUS, their folder, or on the path)",
    ),
}
"""By marker. Without its program a test is left out."""

left_out = pytest.StashKey[dict[str, int]]()
"""How many tests, by marker."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    profile = config.getoption("--hypothesis-profile") or settings.get_current_profile_name()
    if profile == "ci" and config.getoption("--hypothesis-seed") is None:
        # Of several processes, the one that says it draws it.
        known = getattr(config, "workerinput", {}).get("hypothesis_seed")
        config.option.hypothesis_seed = known or str(secrets.randbits(32))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["hypothesis_seed"] = node.config.getoption("--hypothesis-seed")


def pytest_report_header(config: pytest.Config) -> str | None:
    seed = config.getoption("--hypothesis-seed")
    return None if seed is None else f"hypothesis seed: {seed} (--hypothesis-seed={seed})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = [marker for marker, program in PROGRAMS.items() if not program.there]
    impossible = {item: marker for marker in missing for item in items if item.get_closest_marker(marker)}
    if impossible:
        config.stash[left_out] = dict(Counter(impossible.values()))
        config.hook.pytest_deselected(items=list(impossible))
        items[:] = [item for item in items if item not in impossible]


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of several processes, those that run tests are not the one that talks to people.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash.get(left_out, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    # One that has crashed has told nothing.
    if told := getattr(node, "workeroutput", None):
        node.config.stash[left_out] = told["left_out"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker, number in config.stash.get(left_out, {}).items():
        terminalreporter.write_line(f"Left out: {number} tests that need {PROGRAMS[marker].description}.")


@pytest.fixture(autouse=True)
def drop_postgres_schemas() -> Iterator[None]:
    """After all other fixtures, so that no store is open any more."""
    yield
    drop_schemas()
