"""The facts of a decided group as stores keep them: numbered, timed, and framed for streams.

In columns, because the writer's Python steps per fact are steps that the event loop waits for.
"""

from typing import NamedTuple

from factstr_server.contract.append import EncodedEvent
from factstr_server.contract.batch_frame import openings, single_opening
from factstr_server.contract.record import occurred_at_field, varint
from factstr_server.stores.deciding import GroupDecision


class FramedFacts(NamedTuple):
    """In the order of their numbers, which are consecutive. Joined, a fact's opening, prefix and body are what a stream
    sends of it.
    """

    events: list[EncodedEvent]
    prefixes: list[bytes]
    openings: list[bytes]


def framed_facts(decision: GroupDecision) -> FramedFacts:
    """All facts that a group commits."""
    events = list(decision.accepted.events)
    time_field = occurred_at_field(decision.occurred_at)
    numbers = list(map(varint, range(decision.accepted.base + 1, decision.accepted.head + 1)))
    prefixes = [b"\x08%b%b" % (number, time_field) for number in numbers]
    sizes = [len(prefix) + len(event.body) for prefix, event in zip(prefixes, events, strict=True)]
    opened: list[bytes] = []
    for first, last, _ in decision.batches:
        place = len(opened)
        if first == last:
            # Apart, because most appends under load are of one fact, and this is their hot path.
            opened.append(single_opening(numbers[place], sizes[place]))
        else:
            opened += openings(first, last, sizes[place : place + last - first + 1])
    return FramedFacts(events, prefixes, opened)
