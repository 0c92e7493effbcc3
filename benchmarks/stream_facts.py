"""Facts and logs of the stream scenarios: which fact has which number, and how a log is cut into batches.

A record takes 200 to 300 bytes. Every fact names one of a thousand subjects, in turn, so that a subscriber of one
subject matches 0.1 % of any log; one of ten groups; and a member that all facts share.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import cycle, repeat
from typing import Final
from zlib import crc32

from benchmarks.facts import Fact
from factstr.v1 import event_pb2

SUBJECTS: Final = 1_000
GROUPS: Final = 10

_TYPES: Final = ("Accepted", "Accepted", "Accepted", "Completed", "Queued")


def stream_fact(number: int) -> Fact:
    second = number * 480
    date = f"2013-{1 + second // 2_419_200 % 12:02}-{1 + second // 86_400 % 28:02}"
    return Fact(
        _TYPES[number % len(_TYPES)],
        f'{{"subject":{{"id":"{number % SUBJECTS}"}},"group":"{number // 7 % GROUPS}","site":"all","number":{number},'
        f'"impact":"Medium","product":"PROD{number % 704}","person":"Person {number % 1440}",'
        f'"status":"In Progress","country":"Country {number % 32}",'
        f'"at":"{date}T{second // 3600 % 24:02}:00:00Z"}}',
    )


def large_fact(number: int, size: int) -> Fact:
    """A fact with a long text in it."""
    return Fact("Attached", f'{{"subject":{{"id":"none"}},"number":{number},"text":"{"x" * size}"}}')


def subject_of(number: int) -> int:
    return number % SUBJECTS


def of_group(number: int, group: int) -> bool:
    return number // 7 % GROUPS == group


def subject_query(subject: int, *, shared_member: bool = False) -> event_pb2.EventQuery:
    """Matches one fact in a thousand, with or without a member in it that every fact has."""
    shared = ',"site":"all"' if shared_member else ""
    return _query(f'{{"subject":{{"id":"{subject}"}}{shared}}}')


def group_query(group: int) -> event_pb2.EventQuery:
    """Matches one fact in ten."""
    return _query(f'{{"group":"{group}"}}')


def batch_sizes(plan: str) -> Iterator[int]:
    """How many facts the batches of a log hold, one after the other, without an end."""
    return iter(PLANS[plan]())


PLANS: Final[Mapping[str, Callable[[], Iterable[int]]]] = {
    "single facts": lambda: repeat(1),
    "batches of 100": lambda: repeat(100),
    "a mixture": lambda: cycle((1, 1, 1, 3, 1, 1, 40, 1, 2, 1, 1, 1, 250, 1, 1, 10)),
}


def batches(plan: str, count: int) -> Iterator[range]:
    """The facts of each batch of a log that holds `count` of them; fact n stands at n + 1."""
    first = 0
    for size in batch_sizes(plan):
        yield range(first, min(first + size, count))
        first += size
        if first >= count:
            return


def digest_of_batch(before: int, first: int, last: int, facts: Iterable[tuple[int, str]]) -> int:
    """Goes on with a digest of delivered batches: of each its range, and the numbers and payloads delivered of it."""
    digest = crc32(b"%d-%d" % (first, last), before)
    for sequence_number, payload in facts:
        digest = crc32(b"%d" % sequence_number, digest)
        digest = crc32(payload.encode(), digest)
    return digest


def _query(predicate: str) -> event_pb2.EventQuery:
    predicates = event_pb2.PayloadPredicates(any_of=[predicate])
    return event_pb2.EventQuery(filters=[event_pb2.EventFilter(payload_predicates=predicates)])
