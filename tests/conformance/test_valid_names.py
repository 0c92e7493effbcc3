"""Valid input, on each side of every limit: event types, idempotency keys, metadata."""

import pytest

from tests.conformance.driver import Driver, NewFact, of_type, refused

CONTROL_CHARACTERS = [*range(0x20), *range(0x7F, 0xA0)]
NEIGHBOURS_OF_CONTROLS = "\x20\x7e\xa0\u00ad\u200b\u2028\ufeff"
WIDE = "\U0001f600"


async def test_an_event_type_has_1_to_256_characters_counted_in_code_points(store: Driver) -> None:
    for longest in ("x" * 256, "é" * 256, WIDE * 256):
        await store.append_types(longest)
        assert (await store.query(of_type(longest))).facts[0].event_type == longest
        with refused("INVALID_EVENT_TYPE", "events[0].event_type"):
            await store.append_types(longest + longest[0])
        with refused("INVALID_EVENT_TYPE", "query.filters[0].event_types.any_of[0]"):
            await store.query(of_type(longest + longest[0]))
    with refused("INVALID_EVENT_TYPE", "events[0].event_type"):
        await store.append_types("")
    with refused("INVALID_EVENT_TYPE", "query.filters[0].event_types.any_of[0]"):
        await store.query(of_type(""))
    assert await store.head() == 3


async def test_an_event_type_holds_no_control_character(store: Driver) -> None:
    for code in CONTROL_CHARACTERS:
        bad = f"a{chr(code)}b"
        with refused("INVALID_EVENT_TYPE", "events[0].event_type"):
            await store.append_types(bad)
        with refused("INVALID_EVENT_TYPE", "query.filters[0].event_types.any_of[0]"):
            await store.query(of_type(bad))
    for ordinary in NEIGHBOURS_OF_CONTROLS:
        await store.append_types(ordinary)
        assert len((await store.query(of_type(ordinary))).facts) == 1


async def test_an_idempotency_key_has_at_most_200_characters_counted_in_code_points(store: Driver) -> None:
    for longest in ("x" * 200, WIDE * 200):
        first = await store.append([NewFact()], key=longest)
        assert await store.append([NewFact()], key=longest) == first.as_repeat
        with refused("INVALID_ARGUMENT", "idempotency_key"):
            await store.append([NewFact()], key=longest + "x")
    assert await store.head() == 2


async def test_an_idempotency_key_holds_no_control_character(store: Driver) -> None:
    for code in CONTROL_CHARACTERS:
        with refused("INVALID_ARGUMENT", "idempotency_key"):
            await store.append([NewFact()], key=f"a{chr(code)}b")
    for ordinary in NEIGHBOURS_OF_CONTROLS:
        first = await store.append([NewFact()], key=ordinary)
        assert await store.append([NewFact()], key=ordinary) == first.as_repeat
    assert await store.head() == len(NEIGHBOURS_OF_CONTROLS)


@pytest.mark.parametrize(
    ("most", "too_much", "field"),
    [
        pytest.param(
            {f"k{i}": "" for i in range(64)},
            {f"k{i}": "" for i in range(65)},
            "events[1].metadata",
            id="at most 64 entries",
        ),
        pytest.param(
            {WIDE * 128: "v"},
            {"x" * 129: "v"},
            f'events[1].metadata["{"x" * 64}…"]',
            id="keys of at most 128 characters",
        ),
        pytest.param({"k": "v"}, {"": "v"}, 'events[1].metadata[""]', id="keys of at least 1 character"),
        pytest.param(
            {"k": "é" * 8_192},
            {"k": "é" * 8_192 + "x"},
            'events[1].metadata["k"]',
            id="values of at most 16 KiB",
        ),
        pytest.param(
            {"k": "\x01\x7f\n"}, {"k": "a\0b"}, 'events[1].metadata["k"]', id="no U+0000 in a value"
        ),
        pytest.param({"k\t": "v"}, {"a\0b": "v"}, 'events[1].metadata["a\ufffdb"]', id="no U+0000 in a key"),
    ],
)
async def test_metadata_stays_within_its_limits(
    store: Driver, most: dict[str, str], too_much: dict[str, str], field: str
) -> None:
    await store.append([NewFact(metadata=most)])
    assert (await store.query()).facts[0].metadata == most
    with refused("INVALID_METADATA") as caught:
        await store.append([NewFact(), NewFact(metadata=too_much)])
    assert caught.value.fields == [field]
    assert await store.head() == 1
