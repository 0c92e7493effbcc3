"""What a stream has delivered of a log that is known, and what it should have."""

import pytest

from tests.conformance.facts import Fact
from tests.conformance.streams import Batch, CaughtUp, Item
from tests.reliability.endurance.delivered import Delivering, Delivery, check_delivered
from tests.sharing.accounts import ALL, OF_TYPE, Selection


def batch(first: int, *types: str) -> Batch:
    facts = (Fact(number, 5, kind, '{"accounts": []}', {}) for number, kind in enumerate(types, first))
    return Batch(first, first + len(types) - 1, tuple(facts))


LOG = [
    batch(1, "closed"),
    batch(2, "closed", "moved", "closed"),
    batch(5, "moved"),
    batch(6, "closed"),
    batch(7, "moved"),
]


def delivered(selection: Selection, after: int, *items: Item) -> Delivery:
    delivering = Delivering("a stream", selection, after)
    for item in items:
        delivering.take(item)
    return delivering.so_far


@pytest.mark.parametrize("selection", [ALL, OF_TYPE], ids=lambda selection: selection.name)
@pytest.mark.parametrize("after", range(8))
def test_the_log_after_any_position_is_what_a_stream_should_deliver(selection: Selection, after: int) -> None:
    due = selection.of(LOG, after)
    for count in range(len(due) + 1):
        check_delivered([delivered(selection, after, *due[:count])], LOG)
    check_delivered([delivered(selection, after, *due, CaughtUp(7))], LOG)


@pytest.mark.parametrize(
    ("after", "items"),
    [
        (0, [LOG[0], LOG[2]]),
        (1, [LOG[2]]),
        (0, [LOG[0]._replace(facts=LOG[3].facts)]),
        (0, [LOG[0], LOG[1]._replace(facts=LOG[1].facts[1:])]),
        (0, [CaughtUp(1)]),
        (4, [LOG[2], LOG[3], CaughtUp(7)]),
    ],
    ids=["a gap", "a late begin", "other facts", "a part", "nothing", "no end"],
)
def test_anything_else_is_found(after: int, items: list[Item]) -> None:
    with pytest.raises(AssertionError, match="the log has"):
        check_delivered([delivered(ALL, after, *items)], LOG)


@pytest.mark.parametrize("items", [[LOG[0], LOG[0]], [LOG[1], LOG[0]], [LOG[1], CaughtUp(3)]])
def test_what_comes_again_is_found_at_once(items: list[Item]) -> None:
    with pytest.raises(AssertionError, match=r"^a stream: .* after [14]"):
        delivered(ALL, 0, *items)
