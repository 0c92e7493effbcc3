"""The query that is bound to a durable stream's name: the same resumes it, another is refused."""

import pytest

from tests.conformance.driver import EVERYTHING, Driver, Query, of_type, refused, where
from tests.conformance.streams import Started

SAME = [
    (of_type("a", "b"), of_type("b", "a", "b")),
    (where('{"x":1}'), where(' {"x":1.0} ')),
    (where('{"x":1,"y":[]}', "2"), where("2e0", '{"y":[], "x":10e-1}')),
    (Query(of_type("a").filters + where("1").filters), Query(where("1").filters + of_type("a").filters * 2)),
    (of_type("a"), of_type("a")._replace(after=7)),
    (EVERYTHING, Query(after=2**64 - 1)),
    (of_type(), of_type()),
]
DIFFERENT = [
    (of_type("a"), of_type("b")),
    (of_type("a"), EVERYTHING),
    (of_type("a"), of_type()),
    (of_type(), where()),
    (EVERYTHING, of_type()),
    (where("1"), where("true")),
    (where("1"), where('"1"')),
    (where('"\u00e9"'), where('"e\u0301"')),
    (where("9007199254740992"), where("9007199254740993")),
]


@pytest.fixture
async def stocked(store: Driver) -> Driver:
    """Two batches, of two facts and of one."""
    await store.append_types("a", "b")
    await store.append_types("b")
    return store


@pytest.mark.parametrize(("one", "other"), SAME, ids=range(len(SAME)))
async def test_queries_with_the_same_canonical_form_resume_the_same_stream(
    stocked: Driver, one: Query, other: Query
) -> None:
    async with stocked.stream_to_durable("s", one) as stream:
        await stream.started()
    cursor = (await stocked.free()).cursor
    async with stocked.stream_to_durable("s", other) as stream:
        assert (await stream.started()).after == cursor


@pytest.mark.parametrize(("one", "other"), DIFFERENT, ids=range(len(DIFFERENT)))
async def test_resuming_with_another_query_is_refused_also_while_the_stream_is_active(
    stocked: Driver, one: Query, other: Query
) -> None:
    async with stocked.stream_to_durable("s", one) as stream:
        await stream.started()
        for wait in (False, True):
            async with stocked.stream_to_durable("s", other, wait=wait) as second:
                with refused("DURABLE_STREAM_QUERY_MISMATCH") as caught:
                    await second.next()
                assert caught.value.code in {None, "FAILED_PRECONDITION"}
    await stocked.free()
    async with stocked.stream_to_durable("s", other) as second:
        with refused("DURABLE_STREAM_QUERY_MISMATCH"):
            await second.next()


async def test_streaming_all_durably_is_streaming_to_the_empty_query(stocked: Driver) -> None:
    async with stocked.stream_all_durable("s") as stream:
        await stream.started()
    await stocked.free()
    assert (await stocked.durable("s")).query == EVERYTHING
    async with stocked.stream_to_durable("s", EVERYTHING) as stream:
        assert isinstance(await stream.next(), Started)


async def test_the_bound_query_comes_back_as_it_was_given_without_its_cursor(stocked: Driver) -> None:
    query = Query(
        (*of_type("b", "a").filters, *where(' {"x": 1.0}', "2").filters, *of_type().filters), after=3
    )
    async with stocked.stream_to_durable("s", query) as stream:
        await stream.started()
    assert (await stocked.durable("s")).query == query._replace(after=None)


async def test_an_invalid_query_creates_no_durable_stream(store: Driver) -> None:
    async with store.stream_to_durable("s", where("{")) as stream:
        with refused("INVALID_PREDICATE", "query.filters[0].payload_predicates.any_of[0]"):
            await stream.next()
    assert (await store.list_durable()).streams == []
