"""How large an append, a query, and a message may be."""

import pytest

from tests.conformance.driver import Driver, Filter, NewFact, Query, of_type, refused, where
from tests.conformance.wire import new_events, query_message

MOST_EVENTS = 10_000
MOST_BYTES = 3 * 1024 * 1024
MOST_QUERY_BYTES = 256 * 1024
MESSAGE_BYTES = 256 * 1024
DEFAULT_CLIENT_LIMIT = 4 * 1024 * 1024


def encoded_size(facts: list[NewFact]) -> int:
    """Bytes of the NewEvents, as the wire's own generated code counts them."""
    return sum(event.ByteSize() for event in new_events(facts))


def facts_of(size: int, count: int) -> list[NewFact]:
    """`count` facts that together have exactly this size."""
    each = [
        NewFact("sized", f'"{i:05}{"x" * (size // count - 30)}"', {"i": str(i % 10)}) for i in range(count)
    ]
    missing = size - encoded_size(each)
    padding, rest = divmod(missing, count)
    padded = [
        fact._replace(payload=fact.payload[:-1] + "y" * (padding + (i < rest)) + '"')
        for i, fact in enumerate(each)
    ]
    assert encoded_size(padded) == size
    return padded


async def test_10_000_facts_of_together_exactly_the_largest_size_are_appended_and_read_back(
    store: Driver,
) -> None:
    """Over gRPC with a client's default channel options."""
    facts = facts_of(MOST_BYTES, MOST_EVENTS)
    appended = await store.append(facts)
    assert (appended.first, appended.last) == (1, MOST_EVENTS)
    answer = await store.query()
    assert [fact.appended for fact in answer.facts] == facts
    assert max(part.size for part in answer.parts) < DEFAULT_CLIENT_LIMIT


async def test_an_append_of_one_byte_more_is_refused(store: Driver) -> None:
    with refused("BATCH_TOO_LARGE") as caught:
        await store.append(facts_of(MOST_BYTES + 1, 100))
    assert caught.value.metadata == {
        "limit_name": "max_append_bytes",
        "limit": str(MOST_BYTES),
        "actual": str(MOST_BYTES + 1),
    }
    assert await store.head() == 0
    assert (await store.append(facts_of(MOST_BYTES, 100))).last == 100


async def test_an_append_of_10_001_facts_is_refused(store: Driver) -> None:
    with refused("BATCH_TOO_LARGE") as caught:
        await store.append([NewFact()] * (MOST_EVENTS + 1))
    assert caught.value.metadata == {
        "limit_name": "max_events_per_append",
        "limit": "10000",
        "actual": "10001",
    }
    assert await store.head() == 0


async def test_one_fact_may_have_the_whole_size_of_an_append(store: Driver) -> None:
    [largest] = facts_of(MOST_BYTES, 1)
    with refused("BATCH_TOO_LARGE"):
        await store.append([largest._replace(payload=largest.payload[:-1] + 'z"')])
    await store.append([largest])
    answer = await store.query(of_type("sized"))
    assert answer.facts[0].appended == largest
    assert answer.parts[0].size < DEFAULT_CLIENT_LIMIT


@pytest.mark.parametrize("size", [2, 34, 40, 60, 5_000, 50_000])
async def test_messages_gather_facts_up_to_256_kib(store: Driver, size: int) -> None:
    """Framing counts: it weighs most where facts are small."""
    count = min(9_000, 1_500_000 // size)
    await store.append([NewFact(payload='"' + "x" * (size - 2) + '"')] * count)
    for descending in (False, True):
        parts = (await store.query(descending=descending)).parts
        assert max(part.size for part in parts) <= MESSAGE_BYTES
        assert all(part.size > MESSAGE_BYTES // 2 or len(part.facts) > 1_000 for part in parts[:-1])


async def test_a_single_larger_fact_goes_alone(store: Driver) -> None:
    large = '"' + "x" * (MESSAGE_BYTES + 1) + '"'
    await store.append_payloads("1", large, "2", "3", large, large, "4")
    parts = (await store.query()).parts
    assert [[fact.sequence_number for fact in part.facts] for part in parts] == [
        [1],
        [2],
        [3, 4],
        [5],
        [6],
        [7],
    ]
    assert [part.last_returned for part in parts] == [1, 2, 4, 5, 6, 7]
    assert all(part.size < DEFAULT_CLIENT_LIMIT for part in parts)
    backwards = (await store.query(descending=True)).parts
    assert [[fact.sequence_number for fact in part.facts] for part in backwards] == [
        [7],
        [6],
        [5],
        [4, 3],
        [2],
        [1],
    ]
    assert [part.last_returned for part in backwards] == [7, 6, 5, 3, 2, 1]


async def test_a_limit_holds_over_several_messages(store: Driver) -> None:
    middling = '"' + "x" * 50_000 + '"'
    await store.append_payloads(*[middling] * 20)
    answer = await store.query(limit=17)
    assert answer.numbers == list(range(1, 18))
    assert len(answer.parts) > 2
    answer = await store.query(limit=17, descending=True)
    assert answer.numbers == list(range(20, 3, -1))


async def test_a_query_has_at_most_1_000_alternatives_over_all_filters(store: Driver) -> None:
    await store.append([NewFact("t7", '{"n": 1}'), NewFact("other", '{"n": 7}'), NewFact("other", "{}")])
    types = tuple(f"t{i}" for i in range(1_000))
    predicates = tuple(f'{{"n":{i}}}' for i in range(1_000))
    for most in (
        of_type(*types),
        Query(tuple(Filter(types=(name,)) for name in types)),
        Query((Filter(types=types[:500]), Filter(predicates=predicates[:500]))),
    ):
        assert (await store.query(most)).facts
        one_more = Query((*most.filters, Filter(types=("another",))))
        with refused("INVALID_ARGUMENT", "query.filters"):
            await store.query(one_more)
        with refused("INVALID_ARGUMENT", "context_query.filters"):
            await store.append_if([NewFact()], one_more, None)
    assert (await store.query(where(*predicates))).numbers == [1, 2]
    with refused("INVALID_ARGUMENT", "query.filters"):
        await store.query(where(*predicates, "{}"))


async def test_a_predicate_has_at_most_1_000_json_nodes(store: Driver) -> None:
    """Objects, arrays and scalars each count as one."""
    most = [
        "[" + ",".join(map(str, range(999))) + "]",
        "{" + ",".join(f'"k{i}":{i}' for i in range(999)) + "}",
    ]
    most.append("[" + ",".join(f'{{"k":{i}}}' for i in range(499)) + ",[]]")
    await store.append_payloads(*most)
    for number, text in enumerate(most, 1):
        assert (await store.query(where(text))).numbers == [number]
        assert (await store.append_if([NewFact()], where(text), number)).committed == 1
        more = text.replace("0", "0,-1", 1) if text[0] == "[" and "{" not in text else None
        more = more or (text[:-1] + (',"more":1}' if text[0] == "{" else ",1]"))
        with refused("INVALID_PREDICATE", "query.filters[0].payload_predicates.any_of[0]"):
            await store.query(where(more))


def query_of(size: int) -> Query:
    """A query of exactly this size on the wire."""

    def padded(padding: int) -> Query:
        return Query((Filter(types=("sized",), predicates=('"' + "x" * padding + '"',)),), after=1)

    query = padded(size - 100)
    query = padded(size - 100 + size - query_message(query).ByteSize())
    assert query_message(query).ByteSize() == size
    return query


async def test_a_query_takes_at_most_256_kib_on_the_wire(served_store: Driver) -> None:
    store = served_store
    most = query_of(MOST_QUERY_BYTES)
    assert most.filters[0].predicates is not None
    await store.append([NewFact("sized", most.filters[0].predicates[0])])
    assert await store.version(most) == 1
    assert (await store.append_if([NewFact()], most, 1)).first == 2
    with refused("INVALID_ARGUMENT", "query"):
        await store.query(query_of(MOST_QUERY_BYTES + 1))
    with refused("INVALID_ARGUMENT", "context_query"):
        await store.append_if([NewFact()], query_of(MOST_QUERY_BYTES + 1), 1)
    assert await store.head() == 2


@pytest.mark.parametrize("filters", [100, 5_000])
async def test_filters_without_alternatives_are_not_counted(store: Driver, filters: int) -> None:
    await store.append_types("a")
    assert (await store.query(Query((Filter(types=()),) * filters))).numbers == []
    assert (await store.query(Query((Filter(),) * filters))).numbers == [1]
