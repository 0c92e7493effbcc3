"""The adapter of the Python client: does what each line of its input says, by the public API (clients/conformance).

Requests run at the same time, each in a task of its own.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime
from functools import partial, reduce
from operator import or_
from typing import Any, TypeAlias

import factstr

Arguments: TypeAlias = dict[str, Any]
Stream: TypeAlias = factstr.aio.LiveStream | factstr.aio.DurableBatches

KINDS = {
    factstr.InvalidRequest: "invalid_request",
    factstr.BatchTooLarge: "batch_too_large",
    factstr.ConditionalAppendConflict: "conflict",
    factstr.IdempotencyKeyReused: "idempotency_key_reused",
    factstr.Unavailable: "unavailable",
    factstr.ServerBusy: "server_busy",
    factstr.StoreFull: "store_full",
    factstr.OutcomeUnknown: "outcome_unknown",
    factstr.DeadlineExceeded: "deadline_exceeded",
    factstr.Unauthenticated: "unauthenticated",
    factstr.PermissionDenied: "permission_denied",
    factstr.NotImplementedByServer: "not_implemented",
    factstr.CursorAheadOfLog: "cursor_ahead_of_log",
    factstr.LogDiverged: "log_diverged",
    factstr.DurableStreamActive: "durable_stream_active",
    factstr.QueryMismatch: "query_mismatch",
    factstr.LeaseLost: "lease_lost",
    factstr.DurableStreamNotFound: "durable_stream_not_found",
    factstr.StoreClosed: "closed",
    factstr.ServerError: "server_error",
}


class HandlerFailed(Exception):
    def __init__(self, handled: list[int]) -> None:
        super().__init__("as it was told")
        self.handled = handled


class Adapter:
    """Stores and streams by their names."""

    def __init__(self) -> None:
        self._stores: dict[str, factstr.aio.EventStore] = {}
        self._streams: dict[str, Stream] = {}
        self._delivered: dict[str, dict[int, factstr.DurableBatch]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until the end of the input."""
        reader = asyncio.StreamReader(limit=2**26)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            request = json.loads(line)
            number, do = request.pop("id"), request.pop("do")
            task = asyncio.create_task(self._answer(number, do, request))
            self._tasks[number] = task
            task.add_done_callback(partial(self._forget, number))

    def _forget(self, number: int, _: object) -> None:
        del self._tasks[number]

    async def _answer(self, number: int, do: str, arguments: Arguments) -> None:
        method: Callable[[Arguments], Coroutine[Any, Any, Any]] = getattr(self, do)
        answer: Arguments
        try:
            answer = {"result": await method(arguments)}
        except asyncio.CancelledError:
            answer = {"error": {"kind": "cancelled"}}
        except factstr.FactstrError as error:
            answer = {"error": shown_error(error)}
        except HandlerFailed as failed:
            answer = {"error": {"kind": "handler", "message": str(failed), "handled": failed.handled}}
        except (ValueError, TypeError, OSError) as wrong:
            answer = {"error": {"kind": "usage", "message": str(wrong)}}
        print(json.dumps({"id": number, **answer}, ensure_ascii=False), flush=True)

    async def connect(self, a: Arguments) -> Arguments:
        tls = a.get("tls")
        retries = {name.removesuffix("_ms"): value for name, value in a.get("retries", {}).items()}
        for name in ("first_delay", "longest_delay"):
            if name in retries:
                retries[name] /= 1000
        self._stores[a["store"]] = factstr.aio.connect(
            a["target"],
            tls=factstr.TLS(**tls) if isinstance(tls, dict) else tls,
            token=a.get("token"),
            retries=factstr.Retries(**retries),
            allow_plaintext_token=a.get("allow_plaintext_token", False),
            **({"timeout": a["timeout_ms"] / 1000} if "timeout_ms" in a else {}),
        )
        return {}

    async def close(self, a: Arguments) -> Arguments:
        await self._stores[a["store"]].close()
        return {}

    async def append(self, a: Arguments) -> Arguments:
        return shown_append(
            await self._store(a).append(
                events(a["events"]), idempotency_key=a.get("idempotency_key"), timeout=timeout(a)
            )
        )

    async def append_if(self, a: Arguments) -> Arguments:
        return shown_append(
            await self._store(a).append_if(
                events(a["events"]),
                query(a["query"]),
                a["expected_context_version"],
                idempotency_key=a.get("idempotency_key"),
                timeout=timeout(a),
            )
        )

    async def query(self, a: Arguments) -> Arguments:
        result = await self._store(a).query(
            query(a["query"]),
            limit=a.get("limit"),
            order=a.get("order", "ascending"),
            before=a.get("before"),
            timeout=timeout(a),
        )
        async with result:
            return {
                "event_records": [shown_record(record) async for record in result],
                "context_version": result.context_version,
                "last_returned_sequence_number": result.last_returned_sequence_number,
            }

    async def decide(self, a: Arguments) -> Arguments:
        decisions = 0
        interfere = a.get("interfere", {"times": 0})

        async def decision(context: factstr.Context) -> list[factstr.Event]:
            nonlocal decisions
            decisions += 1
            if decisions <= interfere["times"]:
                await self._store(a).append(events(interfere["events"]))
            out = context.records and context.records[-1].event_type == a.get("unless_last")
            return [] if out else events(a["events"])

        appended = await self._store(a).decide(
            query(a["query"]), decision, **({"attempts": a["attempts"]} if "attempts" in a else {})
        )
        return {"decisions": decisions, "appended": None if appended is None else shown_append(appended)}

    async def stream(self, a: Arguments) -> Arguments:
        settings: Arguments = {"after": a.get("after"), "give_up_after": seconds(a.get("give_up_after_ms"))}
        opened = await (
            self._store(a).stream_to(query(a["query"]), **settings)
            if "query" in a
            else self._store(a).stream_all(**settings)
        )
        self._streams[a["stream"]] = opened
        return {"position": opened.position}

    async def durable(self, a: Arguments) -> Arguments:
        start = a.get("start")
        settings: Arguments = {
            "start": factstr.AT_HEAD if start == "head" else start,
            "max_unacknowledged_batches": a.get("max_unacknowledged_batches", 0),
            "wait_for_lease": a.get("wait_for_lease", False),
            "give_up_after": seconds(a.get("give_up_after_ms")),
        }
        opened = await (
            self._store(a).stream_to_durable(a["name"], query(a["query"]), **settings)
            if "query" in a
            else self._store(a).stream_all_durable(a["name"], **settings)
        )
        self._streams[a["stream"]] = opened
        self._delivered[a["stream"]] = {}
        return {"cursor": opened.cursor, "lease_epoch": opened.lease_epoch}

    async def next(self, a: Arguments) -> Arguments:
        stream = self._streams[a["stream"]]
        async for batch in stream:
            return {"batch": self._shown_batch(a["stream"], batch), "position": stream.position}
        raise factstr.StoreClosed("the stream is closed")

    async def until_caught_up(self, a: Arguments) -> Arguments:
        stream = self._streams[a["stream"]]
        batches: AsyncIterator[factstr.CommittedBatch] = stream.until_caught_up()
        shown = [self._shown_batch(a["stream"], batch) async for batch in batches]
        return {"batches": shown, "position": stream.position}

    async def acknowledge(self, a: Arguments) -> Arguments:
        stream = self._streams[a["stream"]]
        assert isinstance(stream, factstr.aio.DurableBatches)
        batch = self._delivered[a["stream"]][a["last_sequence_number"]]
        return {"cursor": await stream.acknowledge(batch)}

    async def close_stream(self, a: Arguments) -> Arguments:
        await self._streams[a["stream"]].close()
        return {}

    async def project(self, a: Arguments) -> Arguments:
        handled: list[int] = []

        def handle(batch: factstr.DurableBatch) -> None:
            if batch.last_sequence_number == a.get("fail_at"):
                raise HandlerFailed(handled)
            handled.append(batch.last_sequence_number)

        await self._store(a).project(
            a["name"],
            query(a["query"]) if "query" in a else factstr.everything(),
            handle,
            stop_when_caught_up=True,
        )
        return {"handled": handled}

    async def cancel(self, a: Arguments) -> Arguments:
        if task := self._tasks.get(a["request"]):
            task.cancel()
        return {}

    def _store(self, a: Arguments) -> factstr.aio.EventStore:
        return self._stores[a["store"]]

    def _shown_batch(self, stream: str, batch: factstr.CommittedBatch) -> Arguments:
        shown: Arguments = {
            "first_sequence_number": batch.first_sequence_number,
            "last_sequence_number": batch.last_sequence_number,
            "event_records": [shown_record(record) for record in batch.event_records],
        }
        if isinstance(batch, factstr.DurableBatch):
            self._delivered[stream][batch.last_sequence_number] = batch
            shown["lease_epoch"] = batch.lease_epoch
        return shown


def events(written: list[Arguments]) -> list[factstr.Event]:
    return [
        factstr.Event(
            event["event_type"],
            factstr.JsonText(event["payload_text"]) if "payload_text" in event else event["payload"],
            event.get("metadata"),
        )
        for event in written
    ]


def query(written: Arguments) -> factstr.EventQuery:
    filters = [
        factstr.where(
            **({"types": one["event_types"]} if "event_types" in one else {}),
            **({"payload_any": one["payload_predicates"]} if "payload_predicates" in one else {}),
        )
        for one in written.get("filters", ())
    ]
    joined = reduce(or_, filters) if filters else factstr.everything()
    return joined.after(written["min_sequence_number"]) if "min_sequence_number" in written else joined


def timeout(a: Arguments) -> float | None:
    return seconds(a.get("timeout_ms"))


def seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def shown_moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def shown_append(result: factstr.AppendResult) -> Arguments:
    return {
        "first_sequence_number": result.first_sequence_number,
        "last_sequence_number": result.last_sequence_number,
        "committed_count": result.committed_count,
        "occurred_at": shown_moment(result.occurred_at),
        "repeated_request": result.repeated_request,
    }


def shown_record(record: factstr.EventRecord) -> Arguments:
    return {
        "sequence_number": record.sequence_number,
        "occurred_at": shown_moment(record.occurred_at),
        "event_type": record.event_type,
        "payload": record.payload,
        "payload_text": record.payload_text,
        "metadata": dict(record.metadata),
    }


def shown_error(error: factstr.FactstrError) -> Arguments:
    shown: Arguments = {
        "kind": KINDS.get(type(error), "other"),
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "field_violations": [
            {"field": violation.field, "description": violation.description}
            for violation in error.field_violations
        ],
    }
    if isinstance(error, factstr.ConditionalAppendConflict):
        shown |= {"expected": error.expected, "actual": error.actual}
    if isinstance(error, factstr.OutcomeUnknown):
        shown |= {"idempotency_key": error.idempotency_key}
    return shown


asyncio.run(Adapter().run())
