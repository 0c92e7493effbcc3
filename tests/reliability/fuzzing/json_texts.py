"""JSON texts: what the contract takes, and which texts mean the same, beside an oracle written from its words.

An input is a text, or two with a byte between them that no text holds.
"""

from collections.abc import Callable
from typing import Any, Final

from factstr.v1 import event_pb2
from factstr_server.contract.append import prepare_append
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.contract.json_text import InvalidJson, canonical_text, count_nodes, parse, parse_exact
from factstr_server.contract.query import EventFilter, EventQuery, compile_query
from factstr_server.contract.terms import check_payload
from factstr_server.contract.validation import Violations
from tests.contract import naive

MAX_BYTES: Final = 512
"""So that what a duplicate key replaces is never nested deeper than a parser can go."""

BETWEEN: Final = b"\xff"


def check(data: bytes) -> None:
    texts = [part.decode(errors="replace") for part in data.split(BETWEEN)[:2]]
    values = [checked(text) for text in texts]
    if len(values) == 2 and INVALID not in values:
        one, other = (canonical_text(parse_exact(text.encode())) for text in texts)
        same = naive.meaning(values[0]) == naive.meaning(values[1])
        assert (one == other) == same, f"{texts} mean the same: {same}, but are {one!r} and {other!r}"


INVALID: Final = object()


def checked(text: str) -> Any:
    """The value of a text, or INVALID: the oracle's, after comparing the contract's answers with it."""
    expected, wrong = value_or_problem(text)
    if wrong:
        for route in (*READING, *TAKING):
            assert not takes(route, text), f"{route.__name__} takes {text!r}, but: {wrong}"
        return INVALID
    for route in TAKING:
        assert takes(route, text), f"{route.__name__} refuses {text!r}"
    for route in READING:
        assert takes(route, text), f"{route.__name__} refuses {text!r}"
        value = route(text.encode())
        assert naive.same(naive.as_decimals(value), expected), (
            f"{route.__name__} takes {text!r} for {value!r}"
        )
    check_canonical(text, expected)
    return expected


def value_or_problem(text: str) -> tuple[Any, str]:
    try:
        return naive.valid_value(text), ""
    except naive.Invalid as wrong:
        return None, str(wrong) or "it is invalid"


def check_canonical(text: str, value: Any) -> None:
    exact = parse_exact(text.encode())
    canonical = canonical_text(exact)
    # It may be longer than what callers may send.
    meant = naive.meaning(naive.value_of(canonical)) == naive.meaning(value)
    assert meant, f"{text!r} has the canonical text {canonical!r}, which means something else"
    nodes = len(list(naive.values_in(value)))
    assert count_nodes(exact) == nodes, f"{text!r} has {nodes} nodes, not {count_nodes(exact)}"


def as_payload(text: bytes) -> None:
    prepared = prepare_append([event_pb2.NewEvent(event_type="a", payload=text.decode())], Violations())
    [event] = prepared.events
    assert event.payload == text, f"{text!r} is kept as {event.payload!r}"


def as_predicate(text: bytes) -> None:
    violations = Violations()
    compile_query(EventQuery((EventFilter(payload_predicates=(text.decode(),)),)), violations)
    violations.refuse_if_any()


READING: Final[tuple[Callable[[bytes], Any], ...]] = (parse_exact, parse)
TAKING: Final[tuple[Callable[[bytes], None], ...]] = (as_payload, as_predicate, check_payload)


def takes(route: Callable[[bytes], Any], text: str) -> bool:
    try:
        route(text.encode())
    except InvalidJson:
        return False
    except Refusal as refusal:
        if refusal.reason not in {Reason.INVALID_PAYLOAD, Reason.INVALID_PREDICATE}:
            raise
        return False
    return True
