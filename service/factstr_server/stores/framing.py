"""The facts of a decided group as stores keep them: numbered, timed, and framed for streams."""

from collections.abc import Iterator
from typing import NamedTuple

from factstr_server.contract.append import EncodedEvent
from factstr_server.contract.batch_frame import openings, single_opening
from factstr_server.contract.record import occurred_at_field, record_prefix
from factstr_server.stores.deciding import GroupDecision


class FramedFact(NamedTuple):
    """Joined, `opening`, `prefix` and the event's body are what a stream sends of the fact."""

    event: EncodedEvent
    prefix: bytes
    opening: bytes
    size: int
    """Of the record: prefix and body."""


def framed_facts(decision: GroupDecision) -> Iterator[FramedFact]:
    """In the order of their numbers, which are consecutive."""
    time_field = occurred_at_field(decision.occurred_at)
    event_of = decision.accepted.event
    for first, last, _ in decision.batches:
        if first == last:
            # Apart, because most appends under load are of one fact, and this is their hot path.
            event, prefix = event_of(first), record_prefix(first, time_field)
            size = len(prefix) + len(event.body)
            yield FramedFact(event, prefix, single_opening(first, size), size)
        else:
            numbers = range(first, last + 1)
            events = list(map(event_of, numbers))
            prefixes = [record_prefix(number, time_field) for number in numbers]
            sizes = [len(prefix) + len(event.body) for prefix, event in zip(prefixes, events, strict=True)]
            yield from map(FramedFact, events, prefixes, openings(first, last, sizes), sizes)
