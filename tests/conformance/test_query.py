"""Which facts a query selects: filters by OR, types AND predicates within one, any-of within each, unset or empty."""

import pytest

from tests.conformance.driver import EVERYTHING, Driver, Filter, NewFact, Query, of_type, refused, where

RED = '{"colour": "red"}'
BLUE = '{"colour": "blue"}'


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """1 a red, 2 a blue, 3 b red, 4 b blue, 5 c null."""
    await store.append([NewFact("a", RED), NewFact("a", BLUE), NewFact("b", RED)])
    await store.append([NewFact("b", BLUE), NewFact("c", "null")])
    return store


async def selected(store: Driver, *filters: Filter) -> list[int]:
    """What the filters select, whichever way one asks: forwards, backwards, or for the version alone."""
    query = Query(filters)
    answer = await store.query(query)
    assert answer.context_version == (answer.numbers[-1] if answer.numbers else None)
    assert (await store.query(query, descending=True)).numbers == answer.numbers[::-1]
    assert await store.version(query) == answer.context_version
    return answer.numbers


async def test_no_filters_select_all_facts(stocked: Driver) -> None:
    assert await selected(stocked) == [1, 2, 3, 4, 5]


async def test_a_filter_without_constraints_selects_all_facts(stocked: Driver) -> None:
    assert await selected(stocked, Filter()) == [1, 2, 3, 4, 5]


async def test_any_of_the_event_types_selects(stocked: Driver) -> None:
    assert await selected(stocked, Filter(types=("a",))) == [1, 2]
    assert await selected(stocked, Filter(types=("c", "a"))) == [1, 2, 5]
    assert await selected(stocked, Filter(types=("c", "unknown", "c"))) == [5]
    assert await selected(stocked, Filter(types=("unknown",))) == []


async def test_event_types_are_compared_by_code_point(store: Driver) -> None:
    types = ["placed", "Placed", "placed ", "plac\u00e9", "place\u0301", "placed\u200b"]
    await store.append_types(*types)
    for number, event_type in enumerate(types, 1):
        assert await selected(store, Filter(types=(event_type,))) == [number]


async def test_any_of_the_payload_predicates_selects(stocked: Driver) -> None:
    assert await selected(stocked, Filter(predicates=(RED,))) == [1, 3]
    assert await selected(stocked, Filter(predicates=(RED, "null"))) == [1, 3, 5]
    assert await selected(stocked, Filter(predicates=('{"colour": "green"}',))) == []


async def test_types_and_predicates_of_one_filter_are_both_required(stocked: Driver) -> None:
    assert await selected(stocked, Filter(types=("a",), predicates=(RED,))) == [1]
    assert await selected(stocked, Filter(types=("a", "b"), predicates=(BLUE, "null"))) == [2, 4]
    assert await selected(stocked, Filter(types=("c",), predicates=(RED, BLUE))) == []


async def test_any_of_the_filters_selects_and_a_fact_that_several_select_is_returned_once(
    stocked: Driver,
) -> None:
    red_a, blue_b = Filter(types=("a",), predicates=(RED,)), Filter(types=("b",), predicates=(BLUE,))
    assert await selected(stocked, red_a, blue_b) == [1, 4]
    assert await selected(stocked, blue_b, red_a, Filter(types=("a",)), Filter(predicates=(RED,))) == [
        1,
        2,
        3,
        4,
    ]
    assert await selected(stocked, red_a, Filter()) == [1, 2, 3, 4, 5]


async def test_a_set_but_empty_list_of_types_selects_nothing(stocked: Driver) -> None:
    assert await selected(stocked, Filter(types=())) == []
    assert await selected(stocked, Filter(types=(), predicates=(RED,))) == []


async def test_a_set_but_empty_list_of_predicates_selects_nothing(stocked: Driver) -> None:
    assert await selected(stocked, Filter(predicates=())) == []
    assert await selected(stocked, Filter(types=("a",), predicates=())) == []


async def test_a_filter_that_selects_nothing_takes_nothing_from_the_others(stocked: Driver) -> None:
    assert await selected(stocked, Filter(types=()), Filter(types=("c",)), Filter(predicates=())) == [5]


async def test_and_is_one_predicate_with_several_keys(store: Driver) -> None:
    await store.append_payloads('{"a": 1}', '{"b": 2}', '{"b": 2, "a": 1, "c": 3}')
    assert (await store.query(where('{"a": 1, "b": 2}'))).numbers == [3]
    assert (await store.query(where('{"a": 1}', '{"b": 2}'))).numbers == [1, 2, 3]


async def test_metadata_selects_nothing(store: Driver) -> None:
    await store.append([NewFact(metadata={"colour": "red"})])
    assert (await store.query(where(RED))).numbers == []


async def test_a_type_is_not_found_as_a_payload_nor_a_payload_as_a_type(store: Driver) -> None:
    await store.append([NewFact("red", '"blue"'), NewFact("blue", '"red"')])
    assert (await store.query(where('"red"'))).numbers == [2]
    assert (await store.query(of_type("red"))).numbers == [1]


async def test_an_invalid_query_is_refused_and_names_each_place(store: Driver) -> None:
    query = Query((Filter(types=("a",)), Filter(types=("a", ""), predicates=("{}", "{", "[1,]"))))
    places = [
        "filters[1].event_types.any_of[1]",
        "filters[1].payload_predicates.any_of[1]",
        "filters[1].payload_predicates.any_of[2]",
    ]
    with refused("INVALID_EVENT_TYPE", *(f"query.{place}" for place in places)):
        await store.query(query)
    with refused("INVALID_EVENT_TYPE", *(f"context_query.{place}" for place in places)):
        await store.append_if([NewFact()], query, None)
    assert await store.version(EVERYTHING) is None


async def test_queries_give_the_same_answer_after_a_restart(persistent_store: Driver) -> None:
    store = persistent_store
    await store.append([NewFact("a", RED, {"k": "v"}), NewFact("b", BLUE)])
    await store.append([NewFact("a", "[1, 2, {}]")])
    queries = [EVERYTHING, of_type("a"), where(RED), where("[{}]"), where("[2]"), where('{"x": 1}')]
    before = [await store.query(query) for query in queries]
    await store.restart()
    assert [await store.query(query) for query in queries] == before


async def test_the_stores_identity_and_head_survive_a_restart(persistent_store: Driver) -> None:
    store = persistent_store
    await store.append_types("a", "b")
    before = await store.info()
    await store.restart()
    assert await store.info() == before
    assert before.head == 2
    assert before.store_id
    assert before.history_id
