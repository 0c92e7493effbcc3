"""The worked example does the same in every language, and desks in different ones never rent out one tool twice."""

from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path

import pytest

import factstr
from tests.clients.desk import Desk
from tests.clients.languages import EACH, LANGUAGES, Language, marks_of
from tests.clients.served import AsProcess, InProcess

PAIRS = [
    pytest.param(one, other, id=f"{one.name}-{other.name}", marks=[*marks_of(one), *marks_of(other)])
    for one, other in combinations(LANGUAGES, 2)
]
ROUNDS = 12

# The first to ask for a desk builds it: up to the minutes that this allows.
pytestmark = pytest.mark.timeout(1_500)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[str]:
    """A server on a SQLite file."""
    served = InProcess(tmp_path, f"sqlite:///{tmp_path}/facts.db", {})
    await served.start()
    yield served.target
    await served.stop()


def desk(language: Language, target: str, name: str, folder: Path) -> Desk:
    language.built()
    return Desk(language.words(language.desk), target, name, folder)


@pytest.mark.parametrize("language", EACH)
async def test_a_desk_answers_as_every_other_does(language: Language, target: str, tmp_path: Path) -> None:
    async with desk(language, target, "north", tmp_path) as north:
        assert await north.inventory() == ["0 tools"]
        assert await north.ask("check-out drill-1 Ada") == "there is no drill-1"
        assert await north.ask("return drill-1") == "there is no drill-1"
        assert await north.ask("register saw-2 saw") == "saw-2 is registered"
        assert await north.inventory() == ["saw-2 saw in", "1 tool"]
        assert await north.ask("register drill-1 drill") == "drill-1 is registered"
        assert await north.ask("register drill-1 drill") == "drill-1 is registered already"
        assert await north.ask("return drill-1") == "drill-1 is not out"
        assert await north.ask("check-out drill-1 Zoë") == "drill-1 is checked out to Zoë"
        assert await north.ask("check-out drill-1 Bob") == "drill-1 is out: Zoë has it"
        assert await north.inventory() == ["drill-1 drill out Zoë", "saw-2 saw in", "2 tools"]
        assert await north.ask("return drill-1") == "drill-1 is back"
        assert await north.ask("check-out drill-1 Bob") == "drill-1 is checked out to Bob"
        assert await north.inventory() == ["drill-1 drill out Bob", "saw-2 saw in", "2 tools"]
        for nonsense in ("", "lend drill-1", "register drill-1", "check-out drill-1"):
            assert (
                await north.ask(nonsense)
                == "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory"
            )
    assert north.exit_code == 0
    async with factstr.aio.connect(target) as store:
        records = [record async for record in await store.query()]
    assert [(record.event_type, record.payload, record.metadata) for record in records[:3]] == [
        ("tool-registered", {"tool": {"id": "saw-2", "kind": "saw"}}, {"desk": "north"}),
        ("tool-registered", {"tool": {"id": "drill-1", "kind": "drill"}}, {"desk": "north"}),
        ("tool-checked-out", {"tool": {"id": "drill-1"}, "customer": {"name": "Zoë"}}, {"desk": "north"}),
    ]
    assert records[3].event_type == "tool-returned"
    assert records[3].payload == {"tool": {"id": "drill-1"}}
    assert len(records) == 5


@pytest.mark.parametrize("language", EACH)
async def test_an_inventory_goes_on_where_a_killed_desk_left_it(
    language: Language, target: str, tmp_path: Path
) -> None:
    async with desk(language, target, "south", tmp_path) as south:
        await south.ask("register drill-1 drill")
        assert await south.inventory() == ["drill-1 drill in", "1 tool"]
        south.kill()
    async with desk(language, target, "north", tmp_path) as north:
        await north.ask("register saw-2 saw")
        await north.ask("check-out drill-1 Ada")
    async with desk(language, target, "south", tmp_path) as south:
        assert await south.inventory() == ["drill-1 drill out Ada", "saw-2 saw in", "2 tools"]


@pytest.mark.parametrize("language", EACH)
async def test_a_desk_that_cannot_go_on_says_why_in_one_line(language: Language, tmp_path: Path) -> None:
    language.built()
    served = AsProcess(tmp_path, "memory:")
    await served.start()
    await served.stop()
    north = Desk(language.words(language.desk), served.target, "north", tmp_path)
    with pytest.raises(AssertionError, match=r"north has ended: tool-desk: .+\n$"):
        await north.__aenter__()
    await north.__aexit__()
    assert north.exit_code == 1


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_of_two_desks_in_different_languages_exactly_one_gets_the_last_drill(
    one: Language, other: Language, target: str, tmp_path: Path
) -> None:
    async with desk(one, target, "north", tmp_path) as north, desk(other, target, "south", tmp_path) as south:
        for number in range(ROUNDS):
            drill = f"drill-{number:02}"
            assert await north.ask(f"register {drill} drill") == f"{drill} is registered"
            north.tell(f"check-out {drill} Ada")
            south.tell(f"check-out {drill} Bob")
            answers = [await north.answer(), await south.answer()]
            assert answers in (
                [f"{drill} is checked out to Ada", f"{drill} is out: Ada has it"],
                [f"{drill} is out: Bob has it", f"{drill} is checked out to Bob"],
            )
        assert await north.inventory() == await south.inventory()
    async with factstr.aio.connect(target) as store:
        checked_out = [
            record.payload["tool"]["id"]
            async for record in await store.query(factstr.where("tool-checked-out"))
        ]
    assert sorted(checked_out) == [f"drill-{number:02}" for number in range(ROUNDS)]
