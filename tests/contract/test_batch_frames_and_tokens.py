"""Frames of batches say to the generated code what went in; tokens are read by their own stream alone."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from factstr.v1 import event_pb2
from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.contract.acknowledgement import KEY_BYTES, TokenMint
from factstr_server.contract.batch_frame import batch_frame, parse_frame, with_token
from factstr_server.contract.errors import Refusal

# Where numbers and lengths begin to take another byte.
EDGES = [n + d for n in (2**7, 2**14, 2**21, 2**28, 2**56, 2**63 - 2) for d in (-1, 0, 1)]
positions = st.one_of(st.integers(1, 2**63 - 1), st.sampled_from(EDGES))


def record(number: int, size: int) -> bytes:
    """A record of about so many bytes."""
    return event_pb2.EventRecord(sequence_number=number, payload="x" * size).SerializeToString()


def parsed(frames: bytes) -> list[pb.CommittedBatch]:
    return list(pb.CommittedBatches.FromString(frames).batches)


def batch(first: int, last: int, records: list[bytes], token: str = "") -> pb.CommittedBatch:
    return pb.CommittedBatch(
        first_sequence_number=first,
        last_sequence_number=last,
        event_records=map(event_pb2.EventRecord.FromString, records),
        acknowledgement_token=token,
    )


sizes = st.one_of(st.integers(0, 300), st.sampled_from([100, 120, 16_370, 16_384, 20_000]))


@given(positions, st.integers(0, 10_000), st.lists(sizes, min_size=1, max_size=4), st.booleans())
@example(1, 0, [2**21], True)
@example(1, 3, [2**21 - 40], True)
def test_a_frame_says_what_went_in(first: int, more: int, lengths: list[int], tokened: bool) -> None:
    last = min(first + more, 2**63 - 1)
    records = [record(first + index, length) for index, length in enumerate(lengths)]
    frame = batch_frame(first, last, records)
    assert parsed(frame) == [batch(first, last, records)]
    token = TokenMint(b"k" * KEY_BYTES, "s").token(1, last)
    assert parsed(with_token(frame, token)) == [batch(first, last, records, token)]


@pytest.mark.parametrize("edge", [2**7, 2**14, 2**21])
def test_every_length_around_an_edge_is_framed_right(edge: int) -> None:
    for size in range(edge - 80, edge + 4):
        records = [record(1, size)]
        frame = batch_frame(1, 1, records)
        assert parsed(frame) == [batch(1, 1, records)]
        assert parsed(with_token(frame, "t" * 44)) == [batch(1, 1, records, "t" * 44)]


@given(st.lists(st.tuples(positions, st.lists(sizes, min_size=1, max_size=3)), max_size=5))
def test_joined_frames_are_the_frames_one_after_the_other(batches: list[tuple[int, list[int]]]) -> None:
    made = [(first, first, [record(first, length) for length in lengths]) for first, lengths in batches]
    assert parsed(b"".join(batch_frame(*each) for each in made)) == [batch(*each) for each in made]


names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=200)
numbers = st.integers(0, 2**64 - 1)
keys = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)


@given(keys, names, numbers, numbers)
def test_a_token_says_what_it_was_made_of(key: bytes, name: str, epoch: int, number: int) -> None:
    token = TokenMint(key, name).token(epoch, number)
    assert token.isascii()
    assert len(token) <= 64
    assert TokenMint(key, name).read(token) == (epoch, number)


streams = st.tuples(keys, names)


@given(streams, streams, numbers, numbers)
@example((b"a" * KEY_BYTES, "s"), (b"a" * KEY_BYTES, "ss"), 1, 1)
def test_a_token_is_read_by_its_own_stream_and_store_alone(
    stream: tuple[bytes, str], other: tuple[bytes, str], epoch: int, number: int
) -> None:
    assume(stream != other)
    with pytest.raises(Refusal):
        TokenMint(*other).read(TokenMint(*stream).token(epoch, number))


@given(st.text(max_size=80))
def test_what_was_not_made_here_is_no_token(text: str) -> None:
    with pytest.raises(Refusal):
        TokenMint(b"k" * KEY_BYTES, "s").read(text)


def test_a_token_with_any_bit_changed_is_refused() -> None:
    mint = TokenMint(b"k" * KEY_BYTES, "s")
    token = mint.token(3, 77)
    for at in range(len(token)):
        for other in {"A", "B", "_", "9"} - {token[at]}:
            with pytest.raises(Refusal):
                mint.read(token[:at] + other + token[at + 1 :])


@given(positions, st.integers(0, 10_000), st.lists(sizes, min_size=1, max_size=4))
def test_a_frame_taken_apart_is_what_went_in(first: int, more: int, lengths: list[int]) -> None:
    last = min(first + more, 2**63 - 1)
    records = [record(first + index, length) for index, length in enumerate(lengths)]
    assert parse_frame(batch_frame(first, last, records)) == (first, last, records)
