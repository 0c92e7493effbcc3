"""What was acknowledged, and the check that the log holds exactly that."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks.connection import Connection
from benchmarks.facts import Fact
from factstr.v1 import event_store_service_pb2 as pb


class CheckFailed(Exception):
    """A server did not do what it answered, or answered what it must not."""


def check(condition: bool, problem: str) -> None:  # noqa: FBT001
    if not condition:
        raise CheckFailed(problem)


class Ledger:
    """Acknowledged appends of one log that began empty. Nothing is parsed until the check."""

    def __init__(self) -> None:
        self._appends: list[tuple[bytes, Callable[[], Sequence[Fact]]]] = []

    def acknowledged(self, response: bytes, facts: Callable[[], Sequence[Fact]]) -> None:
        self._appends.append((response, facts))

    async def check(self, connection: Connection) -> str:
        """Reads the whole log and compares it fact by fact: no gap, nothing lost, added, doubled or changed, batches
        whole. Returns what was checked, in words.
        """
        expected = self._expected()
        count = 0
        last = b""
        async for raw in connection.query(pb.QueryRequest().SerializeToString()):
            last = raw
            for record in pb.QueryResponse.FromString(raw).event_records:
                count += 1
                sequence_number, fact = next(expected, (0, None))
                check(fact is not None, f"the log holds fact {count}, which nobody was told of")
                check(
                    record.sequence_number == sequence_number == count
                    and (record.event_type, record.payload) == fact,
                    f"fact {count} of the log is not what was acknowledged as {sequence_number}",
                )
        check(next(expected, None) is None, f"the log ends with {count}; more was acknowledged")
        version = pb.QueryResponse.FromString(last).current_context_version
        check(version == count, f"the log's version is {version}; it holds {count} facts")
        head = await connection.head()
        check(head == count, f"the head is {head}; the log holds {count} facts")
        return f"{len(self._appends):,} appends, {count:,} facts read back: gapless and equal"

    def _expected(self) -> Iterator[tuple[int, Fact]]:
        appends = []
        for raw, facts in self._appends:
            response = pb.AppendResponse.FromString(raw)
            check(not response.repeated_request, "a first request was answered as a repeat")
            appends.append((response.first_sequence_number, response, facts))
        appends.sort(key=lambda append: append[0])
        for first, response, facts in appends:
            batch = facts()
            check(
                response.last_sequence_number - first + 1 == response.committed_count == len(batch),
                f"{len(batch)} facts were acknowledged as {response.committed_count}",
            )
            yield from enumerate(batch, first)
