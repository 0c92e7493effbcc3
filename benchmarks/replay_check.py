"""The check of a replay: every fact that it should bring, once, in order, whole and in its batch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from zlib import crc32

from benchmarks.ledger import check
from benchmarks.stream_facts import batches, of_group, stream_fact
from factstr.v1 import event_store_service_pb2 as pb

_BATCHES: Final = 0x12
_CAUGHT_UP: Final = 0x1A


def says_caught_up(raw: bytes) -> bool:
    """By the tag of the message's one field: nothing need be parsed for it."""
    return raw[0] == _CAUGHT_UP


def frames_digest(messages: Sequence[bytes]) -> int:
    """Of the batches, however they are cut into messages."""
    digest = 0
    for raw in messages:
        if raw[0] == _BATCHES:
            length_end = 1
            while raw[length_end] & 0x80:
                length_end += 1
            digest = crc32(memoryview(raw)[length_end + 1 :], digest)
    return digest


def check_replay(messages: Sequence[bytes], log: Mapping[str, Any]) -> None:
    """`log`: its `plan`, how many `facts` it holds, and the `group` that was asked for, or None."""
    first = pb.StreamResponse.FromString(messages[0])
    check(first.WhichOneof("content") == "started", "a stream did not begin with `started`")
    last = pb.StreamResponse.FromString(messages[-1])
    check(last.caught_up.head_sequence_number == log["facts"], "a replay did not end at the head")
    expected = _expected(log["plan"], log["facts"], log["group"])
    count = 0
    for raw in messages[1:-1]:
        message = pb.StreamResponse.FromString(raw)
        check(message.WhichOneof("content") == "batches", "a replay was interrupted")
        for batch in message.batches.batches:
            wanted = next(expected, None)
            check(wanted is not None, "a replay brought a batch too many")
            assert wanted
            commit, matching = wanted
            check(
                (batch.first_sequence_number, batch.last_sequence_number) == commit
                and [record.sequence_number for record in batch.event_records] == [n + 1 for n in matching]
                and all(
                    (record.event_type, record.payload) == stream_fact(number)
                    for record, number in zip(batch.event_records, matching, strict=True)
                ),
                f"the batch {batch.first_sequence_number} to {batch.last_sequence_number} is not the one that was "
                f"committed as {commit[0]} to {commit[1]}",
            )
            count += len(matching)
    check(next(expected, None) is None, f"a replay ended after {count} facts; there are more")


def _expected(plan: str, facts: int, group: int | None) -> Iterator[tuple[tuple[int, int], Sequence[int]]]:
    """The range of each commit that something is delivered of, and the facts delivered."""
    for batch in batches(plan, facts):
        matching = batch if group is None else [number for number in batch if of_group(number, group)]
        if matching:
            yield (batch[0] + 1, batch[-1] + 1), matching
