"""What is found not to be flat, of samples that were made up."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.reliability.endurance.bookkeeping import Row
from tests.reliability.endurance.flatness import BOUNDS, MAX_GROWTH_MIB, grown, kept
from tests.reliability.endurance.plots import draw
from tests.reliability.endurance.sampling import Look, read_samples, write_samples

QUIET: Row = {
    "tasks": 7,
    "descriptors": 40,
    "threads": 15,
    "open calls": 0,
    "connections": 4,
    "files of the store": 9,
    "locks": 0,
    "leases": 0,
    "idle in transaction": 0,
}
KINDS = {"stream": 3}


def samples(**others: float) -> list[Row]:
    """Of a flat minute, with something else at its end."""
    flat: Row = {
        **QUIET,
        **dict.fromkeys(BOUNDS, 0.5),
        "memory MiB": 100,
        "tail batches": 1_000,
        "facts": 10,
        "streams opened": 10,
        "calls": 20,
        "database MiB": 5,
    }
    named = {name.replace("_", " "): value for name, value in others.items()}
    return [{"seconds": second} | flat | (named if second > 40 else {}) for second in range(60)]


def test_a_flat_load_is_flat(tmp_path: Path) -> None:
    assert [*grown(samples(), QUIET)] == []
    write_samples(samples(), tmp_path / "samples.csv")
    assert [*grown(read_samples(tmp_path / "samples.csv"), QUIET)] == []


@pytest.mark.parametrize("name", [*BOUNDS, "tasks", "descriptors", "open calls"])
def test_what_goes_beyond_its_bound_once_is_found(name: str) -> None:
    rows = samples()
    rows[30][name] = 5_000
    [found] = grown(rows, QUIET)
    assert found.startswith(f"{name}: 5000 after 30 s")


def test_memory_that_grows_from_the_first_to_the_last_third_is_found() -> None:
    [found] = grown(samples(memory_MiB=100 + MAX_GROWTH_MIB + 0.5), QUIET)
    assert found.startswith(f"memory grew by {MAX_GROWTH_MIB + 0.5} MiB")


def test_memory_that_more_of_the_newest_facts_take_is_no_growth() -> None:
    assert [*grown(samples(memory_MiB=110, tail_batches=16_000), QUIET)] == []


def test_memory_that_grpc_loses_with_streams_is_no_growth() -> None:
    assert [*grown(samples(memory_MiB=110, streams_opened=20_000), QUIET)] == []
    [found] = grown(samples(memory_MiB=120, streams_opened=20_000), QUIET)
    assert found.startswith("memory grew")


@pytest.mark.parametrize(
    "name", ["tasks", "descriptors", "open calls", "locks", "leases", "idle in transaction"]
)
def test_one_that_is_left_when_the_load_has_gone_is_found(name: str) -> None:
    assert found(QUIET | {name: QUIET[name] + 1}) == [name]


def test_what_a_store_has_opened_meanwhile_is_no_descriptor_that_is_left() -> None:
    assert found(QUIET | {"descriptors": 41, "connections": 5}) == []
    assert found(QUIET | {"descriptors": 42, "files of the store": 11}) == []


def test_objects_that_are_left_are_found() -> None:
    assert found(QUIET, {"stream": 2_000}) == ["objects"]
    assert found(QUIET, {"batch": 151}) == ["objects"]
    assert found(QUIET, {"stream": 50, "builtins.dict": 2_000}) == []


def found(row: Row, kinds: Mapping[str, int] = KINDS) -> list[str]:
    return [problem.partition(":")[0] for problem in kept(Look(QUIET, {}, KINDS), Look(row, {}, kinds))]


@pytest.mark.parametrize("missing", ["WAL MiB", "bookkeeping MiB"])
def test_samples_of_either_store_are_drawn(missing: str, tmp_path: Path) -> None:
    rows = [{name: value for name, value in row.items() if name != missing} for row in samples()]
    draw(rows, "A flat minute", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
