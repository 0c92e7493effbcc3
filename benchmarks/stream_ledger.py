"""What was appended beside streams, and what each stream must have brought of it."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from benchmarks.connection import Connection
from benchmarks.facts import Fact
from benchmarks.ledger import check
from benchmarks.replay_check import says_caught_up
from benchmarks.stream_facts import SUBJECTS, digest_of_batch, stream_fact, subject_of
from factstr.v1 import event_store_service_pb2 as pb

Expected = list[tuple[int, int]]
"""For each stream, how many batches it must have brought, and their digest."""


class _Append(NamedTuple):
    response: bytes
    numbers: range
    """Of its facts (`benchmarks.stream_facts`)."""
    facts: Callable[[range], Iterable[Fact]]


class StreamLedger:
    """Acknowledged appends of one log that began empty. What was expected once is not computed again."""

    def __init__(self) -> None:
        self._new: list[_Append] = []
        self._by_subject = [(0, 0)] * SUBJECTS
        self._all = (0, 0)
        self.head = 0

    def acknowledged(
        self, response: bytes, numbers: range, facts: Callable[[range], Iterable[Fact]] | None = None
    ) -> None:
        self._new.append(_Append(response, numbers, facts or ordinary_facts))

    def of_everything(self, streams: int) -> Expected:
        self._account()
        return [self._all] * streams

    def of_subjects(self, streams: int) -> Expected:
        """For streams of one subject each."""
        self._account()
        return self._by_subject[:streams]

    async def check(self, connection: Connection) -> None:
        """Reads the whole log, whoever else has read it: it holds what was acknowledged, batch by batch."""
        self._account()
        count = digest = 0
        call = connection.stream_all(pb.StreamAllRequest(after_sequence_number=0).SerializeToString())
        async for raw in call:
            if says_caught_up(raw):
                break
            for batch in pb.StreamResponse.FromString(raw).batches.batches:
                facts = [(record.sequence_number, record.payload) for record in batch.event_records]
                digest = digest_of_batch(
                    digest, batch.first_sequence_number, batch.last_sequence_number, facts
                )
                count += 1
        call.cancel()
        check(
            (count, digest) == self._all,
            f"the log holds {count} batches where {self._all[0]} were acknowledged, or other ones",
        )

    def _account(self) -> None:
        """Called when nothing is under way: then the log has no gaps."""
        appends = [(pb.AppendResponse.FromString(new.response), new.numbers, new.facts) for new in self._new]
        self._new.clear()
        for response, numbers, facts in sorted(appends, key=lambda append: append[0].first_sequence_number):
            first, last = response.first_sequence_number, response.last_sequence_number
            check(
                first == self.head + 1, f"appends were acknowledged up to {self.head}, and then from {first}"
            )
            check(
                last - first + 1 == len(numbers),
                f"{len(numbers)} facts were acknowledged as {first} to {last}",
            )
            self.head = last
            self._account_batch(first, last, numbers, [fact.payload for fact in facts(numbers)])

    def _account_batch(self, first: int, last: int, numbers: range, payloads: Sequence[str]) -> None:
        count, digest = self._all
        placed = list(enumerate(payloads, first))
        self._all = count + 1, digest_of_batch(digest, first, last, placed)
        by_subject: dict[int, list[tuple[int, str]]] = {}
        for number, fact in zip(numbers, placed, strict=True):
            by_subject.setdefault(subject_of(number), []).append(fact)
        for subject, facts in by_subject.items():
            count, digest = self._by_subject[subject]
            self._by_subject[subject] = count + 1, digest_of_batch(digest, first, last, facts)


def ordinary_facts(numbers: range) -> Iterable[Fact]:
    return map(stream_fact, numbers)
