"""What each target begins with: inputs made here from a source of chance, and words that mutations put in."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final, NamedTuple, TypeVar

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from factstr.v1 import durable_stream_service_pb2 as durable
from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr.v1.server_service_pb2 import GetSequenceNumberAtRequest
from factstr_server.contract.acknowledgement import TokenMint
from tests.contract import naive
from tests.contract.json_strategies import ODD_NUMBERS, texts, written_otherwise
from tests.fuzzing.requests import METHODS, NAMES, broken, extreme
from tests.reliability.fuzzing import json_texts, predicates, wire_messages
from tests.reliability.fuzzing.call_histories import BETWEEN_CALLS, BETWEEN_MESSAGES, NOBODY_KNOWS, history_of

T = TypeVar("T")


class Target(NamedTuple):
    """The module of the same name checks its inputs."""

    name: str
    called: str
    """Its inputs, for people."""
    seeds: Callable[[Random], Iterator[bytes]]
    words: Sequence[bytes] = ()


_EDGES: Final = (
    *("[" * depth + "]" * depth for depth in (63, 64, 65)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (64, 65)),
    *('{"a":' + "[" * 70 + "]" * 70 + ',"a":1}', '{"a":1e400,"a":1}', '{"a":"\\u0000","a":1}', "[1e400]"),
    *("9" * 100, "9" * 101, "0." + "0" * 98 + "1", "0." + "0" * 99 + "1", "-" + "9" * 100, "1." + "0" * 100),
    *("1e300", "1.0000001e300", "1e301", "1e-300", "9.9e-301", "1e-301", "-1e301", "0e999999999999999999999"),
    *("1e99999999999999999999", "NaN", "[Infinity]", "-Infinity", "01", "1.", ".5", "+1", "--1", "1e", "-"),
    *('"\\ud800"', '"\\ud83d\\ude00"', '"\\ude00\\ud83d"', '{"\\ud800":1}', '"\\u0000"', '"a\nb"', '"\\x41"'),
    *(
        '"\x7f\x80"',
        "\ufeff{}",
        "[1,]",
        '{"a":1,}',
        "{1:1}",
        "'a'",
        "nul",
        "nulll",
        "",
        " ",
        "[1 2]",
        "\u00a01",
    ),
)
_JSON_WORDS: Final = (
    *(
        "null",
        "true",
        "false",
        "NaN",
        "Infinity",
        '{"a":',
        '{"b":[',
        '"a"',
        ',"a":',
        ":",
        "[[",
        "]]",
        "\\u0000",
    ),
    *(
        "\\ud800",
        "\\udc00",
        "\\u0061",
        "e300",
        "e-300",
        "E+",
        "9" * 50,
        "0" * 50,
        "[" * 32,
        "]" * 32,
        "\ufeff",
    ),
    *ODD_NUMBERS,
)


def json_seeds(chance: Random) -> Iterator[bytes]:
    for edge in _EDGES:
        yield edge.encode()
    for one, other in drawn(st.tuples(texts, texts), 100, chance):
        yield one.encode() + json_texts.BETWEEN + other.encode()
        again = written_otherwise(chance, naive.value_of(one))
        yield one.encode() + json_texts.BETWEEN + again.encode()


def predicate_seeds(chance: Random) -> Iterator[bytes]:
    """Any bytes are facts and a query."""
    for _ in range(300):
        yield chance.randbytes(chance.randint(8, predicates.MAX_BYTES))


def wire_seeds(chance: Random) -> Iterator[bytes]:
    for history in (_APPENDS, _PIPELINES, _CONSUMING, _FOLLOWING):
        yield history_of(
            [(named(name), [each.SerializeToString() for each in messages]) for name, *messages in history]
        )
    for make in (extreme, extreme, broken):
        for _ in range(60):
            made = [make(chance) for _ in range(chance.randint(1, 4))]
            yield history_of([request for request in made if sum(map(len, request.messages)) < 300])


def named(name: str) -> MethodDescriptor:
    [method] = [method for method in METHODS if method.name == name]
    return method


def drawn(strategy: st.SearchStrategy[T], count: int, chance: Random) -> list[T]:
    """Hypothesis's examples, from a seed."""
    found: list[T] = []

    @seed(chance.getrandbits(64))
    @settings(
        max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(strategy)
    def collect(example: T) -> None:
        found.append(example)

    collect()
    return found


# Histories in which calls belong together.

_A: Final = event_pb2.NewEvent(event_type="a", payload='{"a":1}', metadata={"m": "1", "e": ""})
_B: Final = event_pb2.NewEvent(event_type="b", payload="[1.0,null]")
_OF_A: Final = event_pb2.EventQuery(
    filters=[
        event_pb2.EventFilter(
            event_types=event_pb2.EventTypes(any_of=["a"]),
            payload_predicates=event_pb2.PayloadPredicates(any_of=['{"a":1e0}']),
        )
    ],
    min_sequence_number=1,
)
_KEYED: Final = pb.AppendRequest(events=[_A, _B], idempotency_key="k")
_CONDITIONAL: Final = pb.AppendIfRequest(events=[_A], context_query=_OF_A, expected_context_version=1)
_NAME: Final = NAMES[0]
_TOKENS: Final = [
    TokenMint(wire_messages.ACKNOWLEDGEMENT_KEY, _NAME).token(epoch, last)
    for epoch in (1, 2)
    for last in (1, 2, 3)
]
_UNKNOWN: Final = pb.AppendRequest.FromString(_KEYED.SerializeToString() + NOBODY_KNOWS)

_History = Sequence[tuple[Any, ...]]

_APPENDS: Final[_History] = (
    ("Append", _KEYED),
    ("Append", _KEYED),
    ("AppendIf", _CONDITIONAL),
    ("AppendIf", _CONDITIONAL),
    ("AppendIf", pb.AppendIfRequest(events=[_B], context_query=_OF_A, idempotency_key="k")),
    ("Query", pb.QueryRequest(query=_OF_A, limit=1, order=pb.ORDER_DESCENDING, before_sequence_number=4)),
)
_PIPELINES: Final[_History] = (
    (
        "AppendStream",
        pb.AppendStreamRequest(
            items=[
                pb.AppendStreamItem(correlation_id=1, append=_KEYED),
                pb.AppendStreamItem(correlation_id=2, append_if=_CONDITIONAL),
                pb.AppendStreamItem(correlation_id=3),
            ]
        ),
        pb.AppendStreamRequest(
            items=[
                pb.AppendStreamItem(correlation_id=4, append=_UNKNOWN),
                pb.AppendStreamItem(correlation_id=5, append=_KEYED),
            ]
        ),
    ),
    ("Append", _UNKNOWN),
)
_CONSUMING: Final[_History] = (
    (
        "StreamToDurable",
        pb.StreamToDurableRequest(durable_stream=_NAME, query=_OF_A, max_unacknowledged_batches=1),
    ),
    ("Append", pb.AppendRequest(events=[_A])),
    ("Append", pb.AppendRequest(events=[_B])),
    ("Append", pb.AppendRequest(events=[_A])),
    (
        "AcknowledgeDurable",
        pb.AcknowledgeDurableRequest(durable_stream=_NAME, acknowledgement_token=_TOKENS[0]),
    ),
    ("StreamAllDurable", pb.StreamAllDurableRequest(durable_stream=_NAME, wait_for_lease=True)),
    ("AwaitDurableStream", durable.AwaitDurableStreamRequest(durable_stream=_NAME, sequence_number=3)),
    ("GetDurableStream", durable.GetDurableStreamRequest(durable_stream=_NAME)),
    ("ResetDurableStream", durable.ResetDurableStreamRequest(durable_stream=_NAME, cursor=1, force=True)),
    (
        "AcknowledgeDurable",
        pb.AcknowledgeDurableRequest(durable_stream=_NAME, acknowledgement_token=_TOKENS[2]),
    ),
    ("ListDurableStreams", durable.ListDurableStreamsRequest(page_size=1)),
    ("DeleteDurableStream", durable.DeleteDurableStreamRequest(durable_stream=_NAME, force=True)),
)
_FOLLOWING: Final[_History] = (
    ("StreamAll", pb.StreamAllRequest(after_sequence_number=0)),
    ("StreamTo", pb.StreamToRequest(query=_OF_A)),
    ("Append", _KEYED),
    ("StreamAllDurable", pb.StreamAllDurableRequest(durable_stream=_NAME, start_at_head=True)),
    ("StreamAllDurable", pb.StreamAllDurableRequest(durable_stream=_NAME, wait_for_lease=True)),
    ("Append", pb.AppendRequest(events=[_B, _A, _B])),
    ("GetSequenceNumberAt", GetSequenceNumberAtRequest(occurred_at=Timestamp(seconds=2**35))),
)
_WIRE_WORDS: Final = (
    *(BETWEEN_CALLS + bytes((index,)) for index in range(len(METHODS))),
    BETWEEN_MESSAGES,
    NOBODY_KNOWS,
    *(message.SerializeToString() for message in (_KEYED, _CONDITIONAL, _OF_A, _A, _B)),
    *(word.encode() for word in (*_TOKENS, _NAME, "null", "{}", "[1]", '{"a":1}', "k")),
)

TARGETS: Final = (
    Target("json_texts", "JSON texts", json_seeds, [word.encode() for word in _JSON_WORDS]),
    Target("predicates", "facts with predicates", predicate_seeds),
    Target("wire_messages", "sequences of calls", wire_seeds, _WIRE_WORDS),
)
