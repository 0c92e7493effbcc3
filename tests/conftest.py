"""What every test shares: hypothesis profiles, which programs it takes, and the end of its schemas in PostgreSQL. All
other fixtures live beside their tests.

`default` remembers failing examples in .hypothesis/ and tries them first. `ci`, chosen when CI is set, tries
more examples from a seed that it prints; `--hypothesis-profile=ci --hypothesis-seed=N` repeats such a run.
Neither has a deadline: a busy machine is no failure.
"""

import os
import secrets
from collections.abc import Iterator
from typing import Any

# Tests start processes while gRPC runs: its handlers of a fork would end the new process before it is another program.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pytest
from hypothesis import settings

from tests.postgres.fresh import drop_schemas
from tests.programs import PROGRAMS

settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, max_examples=200)
settings.load_profile("ci" if os.environ.get("CI") else "default")

left_out = pytest.StashKey[dict[str, int]]()


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
    for marker, program in PROGRAMS.items():
        impossible = [item for item in items if item.get_closest_marker(marker)]
        if impossible and not program.found():
            config.stash.setdefault(left_out, {})[marker] = len(impossible)
            config.hook.pytest_deselected(items=impossible)
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
        program = PROGRAMS[marker]
        terminalreporter.write_line(
            f"Left out: {number} tests that need a real {program.title} ({program.variable}, or on the path)."
        )


@pytest.fixture(autouse=True)
def drop_postgres_schemas() -> Iterator[None]:
    """After all other fixtures, so that no store is open any more."""
    yield
    drop_schemas()
