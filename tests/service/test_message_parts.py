"""An AppendStreamRequest in parts: what they hold together, and what is no message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.errors import Reason, Refusal
from factstr_server.rpc import message_parts as parts_module
from factstr_server.rpc.message_parts import message_parts
from factstr_server.rpc.unknown_fields import parse_request


def item(size: int) -> pb.AppendStreamItem:
    event = event_pb2.NewEvent(event_type="a", payload='"' + "x" * size + '"')
    return pb.AppendStreamItem(correlation_id=size, append=pb.AppendRequest(events=[event]))


sizes = st.lists(
    st.one_of(st.integers(0, 300), st.sampled_from([20_000, 65_000, 65_536, 70_000])), max_size=40
)


@given(sizes, st.integers(1, 10))
def test_parts_hold_the_items_in_order_few_or_one_large_one(sizes: list[int], most: int) -> None:
    request = pb.AppendStreamRequest(items=map(item, sizes))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts_module, "MAX_PART_ITEMS", most)
        parts = list(message_parts(request.SerializeToString()))
    parsed = [pb.AppendStreamRequest.FromString(part) for part in parts]
    assert [each for part in parsed for each in part.items] == list(request.items)
    assert all(len(part.items) <= most for part in parsed)
    assert all(
        len(part.items) == 1
        for part, raw in zip(parsed, parts, strict=True)
        if len(raw) > parts_module.MAX_PART_BYTES
    )


def refused(raw: bytes) -> Reason | None:
    try:
        for part in message_parts(raw):
            pb.AppendStreamRequest.FromString(part)
    except Refusal as refusal:
        return refusal.reason
    except Exception:  # noqa: BLE001  (the parser's own, which the reader of a single part maps)
        return Reason.INVALID_ARGUMENT
    return None


@given(st.binary(max_size=30))
def test_what_the_parser_takes_for_no_message_has_no_parts(raw: bytes) -> None:
    try:
        pb.AppendStreamRequest.FromString(raw)
    except Exception:  # noqa: BLE001
        assert refused(raw) in {Reason.INVALID_ARGUMENT, Reason.UNSUPPORTED_FIELD}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", None),
        (b"\x0a\x00", None),
        (b"\x8a\x00\x00", None),  # a tag of two bytes
        (b"\x0a\x80\x00", None),  # a length of two bytes
        (b"\xf8\x07\x01", Reason.UNSUPPORTED_FIELD),
        (b"\x08\x01", Reason.UNSUPPORTED_FIELD),  # items as a number
        (b"\x0a", Reason.INVALID_ARGUMENT),
        (b"\x0a\x05", Reason.INVALID_ARGUMENT),
        (b"\x02\x00", Reason.INVALID_ARGUMENT),  # field 0
        (b"\x0c", Reason.INVALID_ARGUMENT),  # the end of a group
        (b"\x0f", Reason.INVALID_ARGUMENT),
        (b"\xff" * 20, Reason.INVALID_ARGUMENT),
    ],
)
def test_what_is_beside_items_is_refused(raw: bytes, expected: Reason | None) -> None:
    assert refused(raw) == expected
    if expected:
        with pytest.raises(Refusal) as caught:
            parse_request(pb.AppendStreamRequest, raw)
        assert caught.value.reason == expected
