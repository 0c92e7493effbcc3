"""Facts too rich to be indexed leaf by leaf (2,000 terms and more) are found like any other, where they match."""

import pytest

from tests.conformance.driver import Driver, Filter, NewFact, Query, of_type, refused, where


def rich(count: int, extra: str = "") -> str:
    """An object of `count` different leaves."""
    return "{" + ",".join(f'"k{i}":{i}' for i in range(count)) + extra + "}"


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """1 plain, 2 rich, 3 rich by many elements, 4 plain, 5 rich in another type."""
    elements = "[" + ",".join(f'{{"id":{i},"tag":"t{i}"}}' for i in range(1_500)) + "]"
    await store.append([NewFact("a", '{"k1":1}'), NewFact("a", rich(2_500, ',"deep":{"x":[1,{"y":"z"}]}'))])
    await store.append(
        [NewFact("a", f'{{"rows":{elements}}}'), NewFact("b", '{"k1":2}'), NewFact("b", rich(3_000))]
    )
    return store


MATCHES: list[tuple[str, list[int]]] = [
    ('{"k1":1}', [1, 2, 5]),
    ('{"k1":1.0}', [1, 2, 5]),
    ('{"k2499":2499}', [2, 5]),
    ('{"k2999":2999}', [5]),
    ('{"k1":1,"k2000":2000}', [2, 5]),
    ('{"k1":2}', [4]),
    ('{"k1":3}', []),
    ('{"k1":"1"}', []),
    ('{"deep":{}}', [2]),
    ('{"deep":{"x":[]}}', [2]),
    ('{"deep":{"x":[{"y":"z"}]}}', [2]),
    ('{"deep":{"x":[{"y":"w"}]}}', []),
    ('{"rows":[]}', [3]),
    ('{"rows":[{"id":1499}]}', [3]),
    ('{"rows":[{"id":7,"tag":"t7"}]}', [3]),
    ('{"rows":[{"id":7,"tag":"t8"}]}', []),
    ("{}", [1, 2, 3, 4, 5]),
    ("[]", []),
    ("null", []),
]


async def test_rich_facts_are_found_by_every_kind_of_predicate_and_only_where_they_match(
    stocked: Driver,
) -> None:
    for predicate, numbers in MATCHES:
        answer = await stocked.query(where(predicate))
        assert answer.numbers == numbers, predicate
        assert answer.context_version == (numbers[-1] if numbers else None)
        assert (await stocked.query(where(predicate), descending=True)).numbers == numbers[::-1]


async def test_rich_facts_are_found_by_their_type(stocked: Driver) -> None:
    assert (await stocked.query(of_type("a"))).numbers == [1, 2, 3]
    assert (await stocked.query(of_type("b"))).numbers == [4, 5]
    typed = Query((Filter(types=("b",), predicates=('{"k1":1}', '{"rows":[]}')),))
    assert (await stocked.query(typed)).numbers == [5]


async def test_rich_facts_count_in_conditions(stocked: Driver) -> None:
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await stocked.append_if([NewFact()], where('{"k2400":2400}'), 2)
    assert caught.value.actual == 5
    assert (await stocked.append_if([NewFact("c", rich(2_200))], where('{"k2400":2400}'), 5)).first == 6
    with refused("CONDITIONAL_APPEND_CONFLICT") as caught:
        await stocked.append_if([NewFact()], where('{"k2199":2199}'), 5)
    assert caught.value.actual == 6


@pytest.mark.parametrize("leaves", [1_990, 1_997, 1_998, 1_999, 2_000, 2_001])
async def test_facts_around_the_bound_are_found_by_every_leaf_and_container(
    store: Driver, leaves: int
) -> None:
    await store.append([NewFact("bound", rich(leaves)), NewFact("other", "[]")])
    for predicate in ("{}", '{"k0":0}', f'{{"k{leaves - 1}":{leaves - 1}}}', rich(900)):
        assert (await store.query(where(predicate))).numbers == [1], predicate
    assert (await store.query(where(f'{{"k{leaves}":{leaves}}}'))).numbers == []
    assert (await store.query(of_type("bound"))).numbers == [1]
