"""AppendStream: the laws of pipelined appends, over the wire."""

import asyncio
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from factstr.v1 import errors_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.append import PreparedAppend
from factstr_server.contract.errors import store_full, store_unavailable
from factstr_server.contract.limits import MAX_RESPONSE_BYTES
from factstr_server.log import committer
from factstr_server.stores import paging
from factstr_server.stores.postgres import conditions
from factstr_server.stores.protocol import Advance, Outcome, Store
from tests.conformance.driver import EVERYTHING, Filter, NewFact, Options, Query, of_type, refused
from tests.conformance.wire import Wire
from tests.postgres.fresh import fresh_url
from tests.service import raw
from tests.service.conftest import serving
from tests.service.pipe import (
    append,
    append_if,
    committed,
    kinds,
    piped,
    reason,
    refusal,
    stalled,
    until_waiting,
    waiting,
)
from tests.service.wrapping_store import FailingStore, StallingStore, WrappingStore
from tests.stores.opened import url_of
from tests.waiting import until

SMALL = NewFact("small")
INVALID = NewFact("invalid", "{")


async def test_items_are_committed_and_answered_in_the_order_sent(served_store: Wire) -> None:
    async with piped(served_store) as pipe:
        for message in range(20):
            await pipe.send(*(append(NewFact(f"{message}.{item}")) for item in range(message)))
        await pipe.done()
        assert await pipe.firsts(190) == list(range(1, 191))
        await pipe.ended()
    facts = (await served_store.query()).facts
    assert [fact.event_type for fact in facts] == [f"{m}.{i}" for m in range(20) for i in range(m)]


async def test_an_item_is_an_append_of_its_own(served_store: Wire) -> None:
    async with piped(served_store) as pipe:
        await pipe.send(append(SMALL, SMALL, SMALL), append(SMALL, key="once"), append(SMALL, key="once"))
        first, second, again = map(committed, await pipe.outcomes(3))
    assert (first.first, first.last, first.committed) == (1, 3, 3)
    assert (second.first, second.repeated) == (4, False)
    assert again == second.as_repeat


async def test_an_item_that_is_refused_is_an_outcome_and_later_ones_are_tried(served_store: Wire) -> None:
    async with piped(served_store) as pipe:
        await pipe.send(
            append(),
            append(NewFact("a"), key="used"),
            append(INVALID),
            append(NewFact("b"), key="used"),
            append_if(of_type("a"), None, NewFact("c")),
            append(*[SMALL] * 10_001),
            append_if(of_type("a"), 1, NewFact("d")),
            pb.AppendStreamItem(),
            append(NewFact("e")),
        )
        assert kinds(await pipe.outcomes(9)) == [
            "EMPTY_APPEND",
            "committed",
            "INVALID_PAYLOAD",
            "IDEMPOTENCY_KEY_REUSED",
            "CONDITIONAL_APPEND_CONFLICT",
            "BATCH_TOO_LARGE",
            "committed",
            "INVALID_ARGUMENT",
            "committed",
        ]
    assert [fact.event_type for fact in (await served_store.query()).facts] == ["a", "d", "e"]


async def test_a_condition_sees_the_items_before_it(served_store: Wire) -> None:
    context = of_type("counted")
    async with piped(served_store) as pipe:
        items = [append_if(context, version or None, NewFact("counted")) for version in range(50)]
        await pipe.send(*items, append_if(context, 49, NewFact("counted")))
        outcomes = await pipe.outcomes(51)
    assert [committed(outcome).first for outcome in outcomes[:50]] == list(range(1, 51))
    assert refusal(outcomes[50]).conflict == errors_pb2.ConditionalAppendConflict(
        expected_context_version=49, actual_context_version=50
    )


REFUSED = {
    "empty": append(),
    "invalid": append(SMALL, INVALID, NewFact("")),
    "many violations": append(*[INVALID] * 20),
    "invalid predicate": append_if(Query((Filter(predicates=("{",)),)), 0, SMALL),
    "key": append(SMALL, key="\n"),
    "key reused": append(SMALL, key="used"),
    "conflict": append_if(EVERYTHING, 7, SMALL),
    "too large": append(NewFact("large", '"' + "x" * 3_200_000 + '"')),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_refusal_says_what_the_status_of_the_unary_call_says(server: Wire, name: str) -> None:
    await server.append([NewFact("other")], key="used")
    item = REFUSED[name]
    method, request = (
        (raw.APPEND, item.append) if item.HasField("append") else (raw.APPEND_IF, item.append_if)
    )
    error = await raw.error(server, method, request)
    status, info = raw.details(error), raw.detail(error, error_details_pb2.ErrorInfo)
    async with piped(server) as pipe:
        await pipe.send(item)
        failure = refusal(await pipe.outcome())
    assert info
    assert (failure.code, failure.message, reason(failure)) == (status.code, status.message, info.reason)
    assert failure.metadata == info.metadata
    request_detail = raw.detail(error, error_details_pb2.BadRequest)
    violations = request_detail.field_violations if request_detail else ()
    assert [(v.field, v.description) for v in failure.field_violations] == [
        (v.field, v.description) for v in violations
    ]
    conflict = raw.detail(error, errors_pb2.ConditionalAppendConflict)
    assert failure.HasField("conflict") == (conflict is not None)
    assert failure.conflict == (conflict or errors_pb2.ConditionalAppendConflict())


def with_unknown_field(message: Message) -> bytes:
    return message.SerializeToString() + b"\xf8\x07\x01"  # field 127


async def test_an_unknown_field_in_an_item_is_its_outcome(server: Wire) -> None:
    strange = pb.AppendStreamItem.FromString(with_unknown_field(append(SMALL)))
    event = append(SMALL)
    event.append.events[0].MergeFromString(b"\xf8\x07\x01")
    async with piped(server) as pipe:
        await pipe.send(append(SMALL), strange, append(SMALL), event, append(SMALL))
        outcomes = await pipe.outcomes(5)
    assert kinds(outcomes) == [
        "committed",
        "UNSUPPORTED_FIELD",
        "committed",
        "UNSUPPORTED_FIELD",
        "committed",
    ]
    assert [outcomes[place].failure.metadata["path"] for place in (1, 3)] == ["127", "append.events[0].127"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"\xff", "INVALID_ARGUMENT"),
        (with_unknown_field(pb.AppendStreamRequest(items=[append(SMALL)])), "UNSUPPORTED_FIELD"),
    ],
    ids=["garbage", "unknown field"],
)
async def test_what_is_no_message_ends_the_stream_after_all_outcomes_before_it(
    server: Wire, message: bytes, expected: str
) -> None:
    async with piped(server) as pipe:
        await pipe.send(append(SMALL), append(INVALID), append(SMALL))
        await pipe.send_raw(message)
        assert kinds(await pipe.outcomes(3)) == ["committed", "INVALID_PAYLOAD", "committed"]
        assert (await pipe.failed()).reason == expected
    assert (await server.info()).head == 2


async def test_a_stream_of_nothing_ends_well(server: Wire) -> None:
    async with piped(server) as pipe:
        await pipe.send()
        await pipe.done()
        await pipe.ended()


async def test_what_waits_is_committed_together_and_answered_in_one_message() -> None:
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        for _ in range(10):
            await pipe.send(append(SMALL), append(INVALID))
        await until_waiting(server, 20)
        store.gate.set()
        await pipe.outcomes(21)
        assert store.groups == [1, 10]
        assert pipe.messages == 2


async def test_long_answers_are_cut_into_messages_that_any_client_takes(server: Wire) -> None:
    async with piped(server) as pipe:
        await pipe.send(*(append(*[INVALID] * 20) for _ in range(1_000)))
        assert set(kinds(await pipe.outcomes(1_000))) == {"INVALID_PAYLOAD"}
        one = REFUSED["many violations"]
        assert pipe.messages > 1, one
    assert MAX_RESPONSE_BYTES < 4 * 1024 * 1024


class PickyStore(WrappingStore):
    """Fails commits that hold a fact of a type."""

    async def commit(self, group: list[PreparedAppend | Advance]) -> list[Outcome]:  # type: ignore[override]
        types = {
            event.event_type for item in group if isinstance(item, PreparedAppend) for event in item.events
        }
        if "full" in types:
            raise store_full()
        if "gone" in types:
            raise store_unavailable("tried")
        return await super().commit(group)


@pytest.mark.parametrize(("event_type", "expected"), [("full", "STORE_FULL"), ("gone", "STORE_UNAVAILABLE")])
async def test_a_failure_of_the_server_ends_the_stream_after_all_outcomes_before_it(
    event_type: str, expected: str
) -> None:
    async with serving(PickyStore) as (server, _), piped(server) as pipe:
        await pipe.send(append(SMALL))
        assert await pipe.firsts(1) == [1]
        await pipe.send(append(INVALID), append(NewFact(event_type)), append(NewFact("after")))
        await pipe.send(append(NewFact("after")))
        assert kinds(await pipe.outcomes(1)) == ["INVALID_PAYLOAD"]
        assert (await pipe.failed()).reason == expected
        assert (await server.append([SMALL])).first == 2


async def test_items_that_a_store_without_room_can_still_take_are_answered_before_the_one_that_it_cannot() -> (
    None
):
    async with serving(PickyStore) as (server, _), piped(server) as pipe:
        await pipe.send(*[append(SMALL)] * 3, append(NewFact("full")), *[append(NewFact("after"))] * 3)
        assert await pipe.firsts(3) == [1, 2, 3]
        assert (await pipe.failed()).reason == "STORE_FULL"
        assert (await server.query(of_type("after"))).facts == ()


async def test_another_callers_appends_go_on_beside_a_pipeline_that_fails() -> None:
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        other = asyncio.create_task(server.append([NewFact("other")]))
        await until(lambda: len(server.server.log._committer._queue) == 1, "it is queued")
        await pipe.send(append(SMALL))
        store.gate.set()
        assert await pipe.firsts(1) == [1]
        assert (await other).first == 2
        assert await pipe.firsts(1) == [3]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_items_after_one_whose_context_takes_long_to_find_are_not_committed_before_it(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MAX_CANDIDATES_PER_READ", 8)
    monkeypatch.setattr(conditions, "_MOST_CANDIDATES", 8)
    near = NewFact("near", '{"rows":[{"x":1,"y":2},{"x":2,"y":1}]}')
    context = Query((Filter(predicates=('{"rows":[{"x":1,"y":1}]}',)),))
    url = url_of(tmp_path / "facts.db") if kind == "sqlite" else fresh_url(tmp_path)
    async with Wire(url, Options()) as server:
        await server.append([near] * 100)
    async with Wire(url, Options()) as server, piped(server) as pipe:
        await pipe.send(
            append(NewFact("before")),
            append_if(context, None, NewFact("slow")),
            append(INVALID),
            append(NewFact("after")),
            append_if(context, 7, NewFact("slow conflict")),
            append_if(context, None, NewFact("last")),
        )
        assert kinds(await pipe.outcomes(6)) == [
            "committed",
            "committed",
            "INVALID_PAYLOAD",
            "committed",
            "CONDITIONAL_APPEND_CONFLICT",
            "committed",
        ]
        answer = await server.query(Query(after=100))
    assert [fact.event_type for fact in answer.facts] == ["before", "slow", "after", "last"]


async def test_a_full_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "MAX_QUEUED_BYTES", 10_000)
    large = NewFact("large", '"' + "x" * 8_000 + '"')
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        store.gate.clear()
        first = asyncio.create_task(server.append([SMALL]))
        await store.waiting.wait()
        second = asyncio.create_task(server.append([large]))
        await until(lambda: len(server.server.log._committer._queue) == 1, "it is queued")
        with refused("SERVER_BUSY"):
            await server.append([large])
        await pipe.send(append(large))
        await until(lambda: not waiting(server) and bool(server.server.log._pipelines), "it is taken")
        store.gate.set()
        assert await pipe.firsts(1) == [3]
        await asyncio.gather(first, second)


async def test_a_server_that_stops_answers_the_run_under_way_and_tries_nothing_more() -> None:
    async with serving(StallingStore) as (server, store), piped(server) as pipe:
        await stalled(pipe, store)
        await pipe.send(append(NewFact("waits")))
        await until_waiting(server, 1)
        stopping = asyncio.create_task(server.server.stop())
        await until(lambda: not waiting(server), "what waited is dropped")
        store.gate.set()
        assert await pipe.firsts(1) == [1]
        assert (await pipe.failed()).reason == "SERVER_DRAINING"
        await stopping
        assert await store.head() == 1


async def test_what_a_client_that_leaves_had_waiting_is_not_committed() -> None:
    async with serving(StallingStore) as (server, store):
        async with piped(server) as pipe:
            await stalled(pipe, store)
            await pipe.send(append(NewFact("waits")))
            await until_waiting(server, 1)
        await until(lambda: not server.server.log._pipelines, "the stream is over")
        store.gate.set()
        assert (await server.append([SMALL])).first == 2
        assert server.server.log._pipeline_room.used == 0


async def test_a_deadline_ends_the_stream_and_leaves_the_log_whole(server: Wire) -> None:
    call = raw.both_streaming(server.channel, "EventStoreService/AppendStream")(timeout=0.2)
    await call.write(pb.AppendStreamRequest(items=[append(SMALL)]).SerializeToString())
    assert isinstance(await call.read(), bytes)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await server.append([SMALL])).first == 2


async def test_failing_commits_of_a_run_are_not_answered_as_committed() -> None:
    def failing(inner: Store) -> FailingStore:
        store = FailingStore(inner)
        store.failure = RuntimeError("a defect")
        return store

    async with serving(failing) as (server, _), piped(server) as pipe:
        await pipe.send(append(SMALL), append(SMALL))
        assert (await pipe.failed()).reason == "INTERNAL"
        assert (await server.info()).head == 0
