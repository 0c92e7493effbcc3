"""The index of parked streams, and the tail: what they hold, and that they let go of it."""

import asyncio
import random
from collections.abc import Callable

import pytest

from factstr_server.contract.append import prepare_append
from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.terms import event_type_term
from factstr_server.contract.validation import Violations
from factstr_server.log import dispatcher as dispatching
from factstr_server.log.dispatcher import Dispatcher, Seat
from factstr_server.log.tail import Tail, TailBatch
from factstr_server.stores.protocol import BatchWindow, Committed
from tests.conformance.driver import EVERYTHING, Filter, NewFact, Query, of_type, where
from tests.stores.opened import compiled

EVERY_KIND = (
    EVERYTHING,
    of_type("a"),
    of_type("a", "b"),
    of_type(),
    where('{"n":1}'),
    where('{"n":1}', '{"m":2}'),
    Query((Filter(("a",), ('{"n":1,"m":2}',)), Filter(("b",)))),
)


class Log:
    """Batches, numbered as they come."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.head = 0

    def commit(self, *facts: NewFact) -> TailBatch:
        first, self.head = self.head + 1, self.head + len(facts)
        batch = TailBatch(Committed(first, self.head, 0), prepare_append(facts, Violations()))
        self.dispatcher.committed([batch])
        return batch


def everything() -> CompiledQuery:
    return compiled(EVERYTHING)


async def test_leaving_removes_everything_that_taking_a_seat_has_put_there() -> None:
    dispatcher = Dispatcher()
    log = Log(dispatcher)
    chance = random.Random(1)
    seats = [dispatcher.take_seat(compiled(query)) for query in EVERY_KIND * 20]
    for seat in seats:
        seat.park()
    log.commit(NewFact("a", '{"n":1,"m":2}'), NewFact("b"))
    chance.shuffle(seats)
    for seat in seats:
        dispatcher.leave_seat(seat)
    assert dispatcher._everything == set()
    assert dispatcher._by_term == {}


async def test_streams_stand_under_the_least_crowded_of_their_terms() -> None:
    dispatcher = Dispatcher()
    common = event_type_term("common")
    for number in range(50):
        query = Query((Filter(("common",), (f'{{"tenant":1,"id":{number}}}',)),))
        seat = dispatcher.take_seat(compiled(query))
        # The first ones know of no crowd yet; the one term that all facts with many terms share is always there.
        assert number < 2 or common not in seat.keys
    crowds = [len(term.seats) for key, term in dispatcher._by_term.items() if key != "overflow"]
    assert max(crowds) <= 2


async def woken_by(query: Query, *facts: NewFact) -> bool:
    dispatcher = Dispatcher()
    seat = dispatcher.take_seat(compiled(query))
    seat.park()
    Log(dispatcher).commit(*facts)
    return not seat.parked


async def test_a_parked_stream_is_woken_by_what_may_match_and_by_nothing_else() -> None:
    rich = NewFact("rich", "{" + ",".join(f'"k{i}":{i}' for i in range(2_100)) + "}")
    assert await woken_by(EVERYTHING, NewFact("x"))
    assert await woken_by(of_type("a"), NewFact("x"), NewFact("a"))
    assert not await woken_by(of_type("a"), NewFact("x"))
    assert await woken_by(where('{"n":1}'), NewFact("x", '{"n":1.0}'))
    assert not await woken_by(where('{"n":1}'), NewFact("x", '{"n":2}'))
    assert not await woken_by(where('{"n":1,"m":1}'), NewFact("x", '{"n":1}'))
    assert await woken_by(where('{"n":1}'), rich), "a fact with too many terms may match anything"
    assert not await woken_by(Query((Filter(("a",), ('{"n":1}',)),)), rich)
    assert not await woken_by(of_type(), NewFact("a"))


async def test_a_woken_stream_stands_before_the_batch_that_may_match_and_a_parked_one_at_the_head() -> None:
    dispatcher = Dispatcher()
    log = Log(dispatcher)
    seats: list[Seat] = []
    for query in (of_type("a"), of_type("b"), EVERYTHING):
        seats.append(dispatcher.take_seat(compiled(query)))
        seats[-1].park()
    log.commit(NewFact("x"), NewFact("x"))
    log.commit(NewFact("x"))
    log.commit(NewFact("x"), NewFact("a"))
    assert [seat.parked for seat in seats] == [False, True, False]
    assert (seats[0].position, seats[2].position, dispatcher.position) == (3, 0, 5)


async def test_batches_that_came_another_way_wake_every_stream_where_it_stood() -> None:
    dispatcher = Dispatcher()
    log = Log(dispatcher)
    seats = [
        dispatcher.take_seat(compiled(query)) for query in EVERY_KIND if query.filters != of_type().filters
    ]
    log.commit(NewFact("x"))
    for seat in seats:
        seat.park()
    log.head = 7
    log.commit(NewFact("x"))
    assert [(seat.parked, seat.position) for seat in seats] == [(False, 1)] * len(seats)
    assert dispatcher.position == 8
    assert dispatcher.tail.read(everything(), BatchWindow(1, 8)) is None, "the tail has not got them"
    page = dispatcher.tail.read(everything(), BatchWindow(7, 8))
    assert page
    assert page.ranges == [(8, 8)]


async def test_a_batch_that_is_already_known_is_not_told_again() -> None:
    dispatcher = Dispatcher()
    log = Log(dispatcher)
    first = log.commit(NewFact("x"))
    log.commit(NewFact("x"))
    seat = dispatcher.take_seat(everything())
    seat.park()
    dispatcher.committed([first])
    dispatcher.move_to(1)
    assert seat.parked
    assert dispatcher.position == 2


@pytest.mark.parametrize("max_bytes", [1, 5_000, 100_000])
async def test_the_tail_is_bounded_by_bytes_and_always_ends_with_the_head(max_bytes: int) -> None:
    tail = Tail(max_bytes)
    log = Log(Dispatcher(tail))
    for number in range(300):
        batch = log.commit(*[NewFact("x", '"' + "x" * 100 + '"')] * (1 + number % 3))
        assert tail._bytes == sum(kept.cost for kept in tail._batches) <= max_bytes
        assert tail._bytes == 0 or tail._batches[-1] is batch
        assert tail.read(everything(), BatchWindow(log.head, log.head)) is not None
        page = tail.read(everything(), BatchWindow(tail.begins_after, log.head))
        assert page
        assert page.looked_up_to == log.head
        if tail.begins_after:
            assert tail.read(everything(), BatchWindow(tail.begins_after - 1, log.head)) is None


async def test_a_payload_that_is_large_to_match_is_left_to_the_store_and_one_that_is_delivered_whole_is_not() -> (
    None
):
    tail = Tail()
    log = Log(Dispatcher(tail))
    log.commit(NewFact("a", '{"n":1,"text":"' + "x" * 70_000 + '"}'))
    window = BatchWindow(0, 1)
    assert tail.read(compiled(where('{"n":1}')), window) is None
    for query in (EVERYTHING, of_type("a")):
        page = tail.read(compiled(query), window)
        assert page
        assert page.ranges == [(1, 1)]
    page = tail.read(compiled(where('{"n":2}')), window)
    assert page
    assert page.ranges == []


@pytest.mark.parametrize("appends_wait", [False, True])
async def test_filtered_streams_go_on_in_turn_a_few_at_a_time_and_all_of_them_in_the_end(
    *, appends_wait: bool
) -> None:
    dispatcher = Dispatcher()
    dispatcher.appends_wait = lambda: appends_wait
    log = Log(dispatcher)
    went_on: list[int] = []

    async def stream(number: int) -> None:
        seat = dispatcher.take_seat(compiled(of_type("a")))
        parked.append(seat)
        await seat.park()
        went_on.append(number)

    parked: list[Seat] = []
    streams = [asyncio.create_task(stream(number)) for number in range(100)]
    await asyncio.sleep(0)
    assert len(parked) == len(streams)
    log.commit(NewFact("a"))
    await asyncio.sleep(0)
    assert 0 < len(went_on) < 20, "the others get their turn of the loop"
    log.commit(NewFact("a"))
    await asyncio.gather(*streams)
    assert sorted(went_on) == list(range(100))
    assert not dispatcher._waking


async def test_streams_wait_for_appends_as_long_as_they_took_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock of the test's own."""
    loop = asyncio.get_running_loop()
    now = 0.0
    waits: list[float] = []

    def later(seconds: float, call: Callable[[], None]) -> None:
        waits.append(seconds)
        loop.call_soon(call)

    monkeypatch.setattr(dispatching, "perf_counter", lambda: now)
    monkeypatch.setattr(loop, "call_later", later)
    dispatcher = Dispatcher()
    busy = iter([True, False, True])
    dispatcher.appends_wait = lambda: next(busy)
    seats = [dispatcher.take_seat(compiled(of_type("a"))) for _ in range(25)]
    woken = [seat.park() for seat in seats]
    for future in woken:
        future.add_done_callback(lambda _: passed(0.25))

    def passed(seconds: float) -> None:
        nonlocal now
        now += seconds

    Log(dispatcher).commit(NewFact("a"))
    await asyncio.gather(*woken)
    assert waits == [8 * 0.25, 8 * 0.25]
