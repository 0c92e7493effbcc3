"""A server on the copy goes on as one on the source would: tokens, keys, streams, positions."""

import pytest

from factstr_server.stores.copying import UnfinishedCopy
from factstr_server.stores.protocol import StoreError
from tests.conformance.driver import NewFact, Options, Query, of_type, where
from tests.conformance.wire import Wire
from tests.copying.conftest import Places
from tests.copying.copied import copied

A = of_type("a")


async def test_tokens_keys_and_cursors_stay_valid_across_a_copy(places: Places) -> None:
    async with Wire(places.source, Options()) as server:
        await server.append([NewFact("a", '{"n":1}')])
        await server.append([NewFact("a"), NewFact("b")])
        first = await server.append_if([NewFact("a", '{"n":2}')], A, 2, key="k")
        info = await server.info()
        async with server.stream_to_durable("s", A) as stream:
            started = await stream.started()
            one, two, three = await stream.batches(3)
            assert await server.acknowledge("s", one.token) == 1
        at = await server.sequence_number_at(first.occurred_at)
    await copied(*places)
    async with Wire(places.target, Options()) as copy:
        assert (await copy.info())[1:] == info[1:]
        assert await copy.acknowledge("s", two.token) == 3
        assert await copy.append_if([NewFact("a", '{"n":2}')], A, 2, key="k") == first.as_repeat
        assert await copy.sequence_number_at(first.occurred_at) == at
        seen = await copy.durable("s")
        assert (seen.cursor, seen.lease_epoch, seen.active) == (3, started.lease_epoch, False)
        async with copy.stream_to_durable("s", A) as stream:
            resumed = await stream.started()
            assert (resumed.after, resumed.lease_epoch > started.lease_epoch) == (3, True)
            [again] = await stream.batches(1)
            assert again.facts == three.facts
            await copy.append_types("a")
            [new] = await stream.batches(1)
            assert new.shape == (5, 5, [5])
            assert await copy.acknowledge("s", new.token) == 5


async def test_queries_and_streams_give_the_same_answers(places: Places) -> None:
    queries = (Query(), A, where('{"n":1}'), where('{"rows":[{"x":1}]}'), of_type("none"))

    async def answers(url: str) -> list[object]:
        given: list[object] = []
        async with Wire(url, Options()) as server:
            for query in queries:
                given.append(await server.query(query))
                given.append(await server.query(query, limit=2, descending=True))
                async with server.stream_to(query, 0) as stream:
                    given.append(await stream.until_caught_up())
        return given

    async with Wire(places.source, Options()) as server:
        for n in range(30):
            await server.append(
                [
                    NewFact("ab"[n % 2], f'{{"n":{n % 3}, "rows":[{{"x":{n % 4}}}]}}', {"m": str(n)})
                    for _ in range(n % 4 + 1)
                ]
            )
    await copied(*places)
    assert await answers(places.target) == await answers(places.source)


async def test_a_copy_is_refused_while_a_server_runs_on_either_store(places: Places) -> None:
    for used in places:
        async with Wire(places.source, Options()) as server:
            await server.append_types("a")
        async with Wire(used, Options()):
            with pytest.raises(StoreError, match="is in use by") as caught:
                await copied(*places)
        assert not isinstance(caught.value, UnfinishedCopy)
    await copied(*places)
