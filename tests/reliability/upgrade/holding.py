"""Holds a server to what a kept store holds: what was written comes back as it was, and its log goes on behind it."""

import asyncio
from collections.abc import Sequence
from itertools import islice, zip_longest
from typing import Final

from tests.conformance.driver import Appended, Driver, NewFact, Query, of_type, refused, where
from tests.conformance.streams import Batch
from tests.reliability.upgrade.kept import Kept, KeptAppend, KeptStream
from tests.reliability.upgrade.rich_log import QUERIES
from tests.sharing.accounts import Selection
from tests.sharing.recording import whole_log
from tests.stores.list_log import Request, selects

_MOST_COMMAS: Final = 500
"""In a payload that is asked for as a whole: a predicate is smaller than an event may be."""


async def hold(store: Driver, kept: Kept, *, restored: bool = False) -> int:
    """Changes nothing. A restored store is told from the one that was written by its history and its epochs alone.
    Returns how many facts were compared.
    """
    info = await store.info()
    assert (info.store_id, info.head) == (kept.store_id, kept.head)
    assert (info.history_id != kept.history_id) is restored
    log = kept.batches
    check_same("the log", await whole_log(store), log)
    facts = sum(len(batch.facts) for batch in log)
    await _hold_times(store, log)
    facts += await _hold_contexts(store, log)
    facts += await _hold_parts(store, log)
    await _hold_keys(store, kept)
    await _hold_streams(store, kept, restored=restored)
    return facts


async def _hold_times(store: Driver, log: Sequence[Batch]) -> None:
    """A time stands for the last fact that was committed then, or before."""
    times = {batch.facts[0].occurred_at: batch.last for batch in log}
    befores = zip((0, *times.values()), times.items(), strict=False)
    for before, (occurred_at, last) in islice(befores, 0, None, 5):
        assert await store.sequence_number_at(occurred_at) == last
        assert await store.sequence_number_at(occurred_at - 1) == before


async def _hold_contexts(store: Driver, log: Sequence[Batch]) -> int:
    """The index finds what a look at every fact finds, also of each payload as a predicate."""
    facts = [fact for batch in log for fact in batch.facts]
    payloads = dict.fromkeys(fact.payload for fact in facts)
    asked = [where(payload) for payload in payloads if payload.count(",") < _MOST_COMMAS]
    compared = 0
    for query in (*QUERIES, *asked):
        due = [fact for fact in facts if selects(query, fact.appended)]
        answer = await store.query(query)
        check_same(query, answer.facts, due)
        assert answer.context_version == (due[-1].sequence_number if due else None), query
        compared += len(due)
    for query in QUERIES:
        due = [
            fact for fact in reversed(facts) if fact.sequence_number < 700 and selects(query, fact.appended)
        ]
        assert list((await store.query(query, descending=True, limit=3, before=700)).facts) == due[:3], query
    return compared


async def _hold_parts(store: Driver, log: Sequence[Batch]) -> int:
    """Streams deliver their part of the log, also from inside of a batch on."""
    compared = 0
    for query in QUERIES:
        for after in (0, log[-1].last - 2):
            due = part(log, query, after)
            async with store.stream_to(query, after) as stream:
                check_same((query, after), await stream.until_caught_up(), due)
            compared += sum(len(batch.facts) for batch in due)
    return compared


async def _hold_keys(store: Driver, kept: Kept) -> None:
    """Each repeats its first result, and takes no other request."""

    async def hold_key(append: KeptAppend) -> None:
        assert await append.request.sent_to(store) == append.answer.as_repeat, append.request.key
        another = append.request._replace(facts=(*append.request.facts, NewFact()))
        with refused("IDEMPOTENCY_KEY_REUSED"):
            await another.sent_to(store)

    await asyncio.gather(*(hold_key(append) for append in kept.appends if append.request.key))


async def _hold_streams(store: Driver, kept: Kept, *, restored: bool) -> None:
    listing = await store.list_durable()
    assert sorted(listing.names) == sorted(stream.name for stream in kept.streams)
    for stream in kept.streams:
        told = await store.durable(stream.name)
        assert told.query == stream.query
        assert (told.cursor, told.lag_events) == (stream.cursor, kept.head - stream.cursor), stream.name
        assert (told.created_at, told.acknowledged_at) == (stream.created_at, stream.acknowledged_at)
        assert not told.active, "its consumer has gone"
        if restored:
            assert told.lease_epoch > stream.lease_epoch
        else:
            assert told.lease_epoch == stream.lease_epoch


async def go_on(store: Driver, kept: Kept) -> list[Batch]:
    """Decides on what was written, appends behind it, and resumes its durable streams. Returns the log."""
    log = kept.batches
    for number, query in enumerate(QUERIES):
        await _decide(store, log, query, f"new decision {number}")
    for size in (1, 3, 1):
        facts = tuple(NewFact("a", f'{{"n":{number}}}') for number in range(size))
        _take(log, facts, await store.append(facts))
    newest_epoch = max((stream.lease_epoch for stream in kept.streams), default=0)
    for stream in kept.streams:
        newest_epoch = await _resume(store, log, stream, newest_epoch)
    async with store.stream_all_durable("new") as consumer:
        started = await consumer.started()
        assert started.after == 0
        assert started.lease_epoch > newest_epoch
        check_same("a new durable stream", _without_tokens(await consumer.until_caught_up()), log)
    return log


async def _decide(store: Driver, log: list[Batch], query: Query, key: str) -> None:
    """On a context of which all, some or no facts were there before."""
    numbers = [fact.sequence_number for batch in part(log, query, 0) for fact in batch.facts]
    version = max(numbers, default=None)
    decision = Request((NewFact("decided", '{"n":1}'),), query, version, key)
    for wrong in {0, 1, (version or 0) + 1} - {version or 0}:
        with refused("CONDITIONAL_APPEND_CONFLICT") as refusal:
            await decision._replace(expected=wrong).sent_to(store)
        assert refusal.value.actual == version, query
    answer = await decision.sent_to(store)
    _take(log, decision.facts, answer)
    assert await decision.sent_to(store) == answer.as_repeat


def _take(log: list[Batch], facts: tuple[NewFact, ...], answer: Appended) -> None:
    """Adds a batch, for which there is one place."""
    assert (answer.first, answer.occurred_at >= log[-1].facts[0].occurred_at) == (log[-1].last + 1, True)
    log.append(KeptAppend(Request(facts), answer).batch)


async def _resume(store: Driver, log: Sequence[Batch], kept: KeptStream, newest_epoch: int) -> int:
    """Returns the new lease's epoch."""
    cursor = kept.cursor
    if kept.token:
        cursor = await store.acknowledge(kept.name, kept.token)
        assert cursor == kept.acknowledges, "a token of before counts as long as nobody else has the lease"
    with refused("DURABLE_STREAM_QUERY_MISMATCH"):
        async with store.stream_to_durable(kept.name, of_type("another")) as stream:
            await stream.started()
    async with store.stream_to_durable(kept.name, kept.query) as stream:
        started = await stream.started()
        assert started.after == cursor
        assert started.lease_epoch > newest_epoch, "epochs never come again"
        batches = await stream.until_caught_up()
        check_same(kept.name, _without_tokens(batches), part(log, kept.query, cursor))
        for batch in batches[-1:]:
            assert await store.acknowledge(kept.name, batch.token) >= batch.last
    return started.lease_epoch


def part(log: Sequence[Batch], query: Query, after: int) -> list[Batch]:
    """What a stream delivers."""
    return Selection("", query, lambda fact: selects(query, fact.appended)).of(log, after)


def _without_tokens(batches: Sequence[Batch]) -> list[Batch]:
    return [batch._replace(token="") for batch in batches]


def check_same(what: object, found: Sequence[object], due: Sequence[object]) -> None:
    """In words, because both may be long."""
    for number, (one, other) in enumerate(zip_longest(found, due), 1):
        assert one == other, f"{what}: number {number} is {one!s:.300}, and should be {other!s:.300}"
