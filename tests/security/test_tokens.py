"""Tokens: who bears one is known by it, for as long as its line stands in the file."""

import asyncio
import hmac
import logging
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from factstr.v1 import event_store_service_pb2 as pb
from factstr_server.access.callers import Callers
from factstr_server.access.roles import Role
from factstr_server.cli import main
from factstr_server.server import Server, StartupError
from tests.conformance.driver import Failure
from tests.conformance.wire import failure_of
from tests.security.calls import APPEND, append, both_streaming, path_of, streaming, unary
from tests.security.conftest import Tokens, bearer, served, settings, with_tokens
from tests.waiting import until

APPEND_RPC = path_of("factstr.v1.EventStoreService.Append")
APPEND_STREAM = path_of("factstr.v1.EventStoreService.AppendStream")
STREAM_ALL = path_of("factstr.v1.EventStoreService.StreamAll")
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ((), "the call carries no token"),
        ((("authorization", ""),), "it is not one `Bearer` token"),
        ((("authorization", "Basic abc"),), "it is not one `Bearer` token"),
        ((("authorization", "Bearer"),), "it is not one `Bearer` token"),
        ((("authorization", "Bearer "),), "the token is not known here"),
        ((("authorization", "Bearer factstr_000000000000_secret"),), "the token is not known here"),
        ((("authorization", "Bearer " + "x" * 10_000),), "the token is not known here"),
        ((("authorization", "Bearer factstr__"),), "the token is not known here"),
    ],
)
async def test_who_bears_no_known_token_is_turned_away(
    tokens: Tokens, headers: tuple[tuple[str, str], ...], said: str
) -> None:
    tokens.add("a", Role.ADMIN)
    async with served(with_tokens(tokens)) as (server, channel):
        refused = await append(channel, headers)
        assert refused is not None
        assert refused.reason == refused.code == "UNAUTHENTICATED"
        assert said in refused.message
        assert "send `Bearer` and a token that this server knows" in refused.message
        assert await server.log.head() == 0


async def test_a_known_token_lets_in_and_a_changed_one_does_not(tokens: Tokens) -> None:
    token = tokens.add("a", Role.WRITER)
    async with served(with_tokens(tokens)) as (_, channel):
        assert await append(channel, bearer(token)) is None
        assert await append(channel, (("authorization", f"bearer {token}"),)) is None
        for wrong in (token[:-1], token + "x", token.replace("factstr_", "other_"), token.upper()):
            refused = await append(channel, bearer(wrong))
            assert refused is not None
            assert refused.reason == "UNAUTHENTICATED"
        twice = await append(channel, bearer(token) + bearer(token))
        assert twice is not None
        assert "it is not one `Bearer` token" in twice.message


async def test_health_and_reflection_ask_for_no_token(tokens: Tokens) -> None:
    tokens.add("a", Role.ADMIN)
    async with served(with_tokens(tokens)) as (_, channel):
        assert await unary(channel, HEALTH)(b"", timeout=20)
        reflected = both_streaming(channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(
            _one(b"\x3a\x00"), timeout=20
        )
        assert isinstance(await reflected.read(), bytes)


async def test_a_call_is_refused_before_its_request_is_read(tokens: Tokens) -> None:
    tokens.add("a", Role.ADMIN)
    async with served(with_tokens(tokens)) as (_, channel):
        call = both_streaming(channel, APPEND_RPC)(_never(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call.read()
        assert failure_of(refused.value).reason == "UNAUTHENTICATED"


async def test_a_new_line_lets_in_and_a_removed_one_does_not_on_the_same_connection(tokens: Tokens) -> None:
    first = tokens.add("first", Role.WRITER)
    async with served(with_tokens(tokens)) as (_, channel):
        second = tokens.add("second", Role.WRITER)
        await _until_it_is(None, channel, second)
        assert await append(channel, bearer(first)) is None
        tokens.remove(first)
        await _until_it_is("UNAUTHENTICATED", channel, first)
        assert await append(channel, bearer(second)) is None


async def test_another_role_of_the_same_token_counts_from_its_next_call(tokens: Tokens) -> None:
    token = tokens.add("a", Role.READER)
    async with served(with_tokens(tokens)) as (_, channel):
        await _until_it_is("PERMISSION_DENIED", channel, token)
        tokens.lines = [line.replace(" reader ", " writer ") for line in tokens.lines]
        tokens.save()
        await _until_it_is(None, channel, token)


async def test_a_stream_of_a_revoked_token_ends_at_its_next_message_and_others_go_on(tokens: Tokens) -> None:
    revoked, kept = tokens.add("revoked", Role.WRITER), tokens.add("kept", Role.WRITER)
    wanted = with_tokens(tokens, heartbeat_interval=timedelta(seconds=0.2))
    async with served(wanted) as (_, channel):
        streams = [
            streaming(channel, STREAM_ALL)(b"", metadata=bearer(token), timeout=20)
            for token in (revoked, kept)
        ]
        for stream in streams:
            assert isinstance(await stream.read(), bytes)
        tokens.remove(revoked)
        ended = await _ended(streams[0])
        assert ended.reason == "UNAUTHENTICATED"
        assert "not known here any more" in ended.message
        for _ in range(3):
            assert isinstance(await streams[1].read(), bytes)
        streams[1].cancel()


async def test_a_pipeline_of_a_revoked_token_ends_after_the_answers_to_what_was_taken(tokens: Tokens) -> None:
    token = tokens.add("revoked", Role.WRITER)
    tokens.add("kept", Role.READER)
    item = pb.AppendStreamRequest(items=[pb.AppendStreamItem(append=APPEND)]).SerializeToString()
    async with served(with_tokens(tokens)) as (server, channel):
        call = both_streaming(channel, APPEND_STREAM)(metadata=bearer(token), timeout=20)
        await call.write(item)
        assert isinstance(await call.read(), bytes)
        tokens.remove(token)
        await _until_it_is("UNAUTHENTICATED", channel, token)
        head = await server.log.head()
        await call.write(item)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert failure_of(ended.value).reason == "UNAUTHENTICATED"
        assert await server.log.head() == head


async def test_a_file_that_makes_no_sense_leaves_everybody_known_and_is_told_in_the_log(
    tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    token = tokens.add("a", Role.WRITER)
    async with served(with_tokens(tokens)) as (server, channel):
        for text, said in (("token x", "line 1: write `token ID NAME ROLES HASH`"), ("", "names nobody")):
            tokens.path.write_text(text, encoding="utf-8")
            await until(lambda said=said: said in caplog.text, "the log tells it")  # type: ignore[misc]
            assert await append(channel, bearer(token)) is None
        tokens.path.unlink()
        await until(lambda: "cannot be read: No such file" in caplog.text, "the log tells it")
        assert await append(channel, bearer(token)) is None
        assert "what was read before holds further" in caplog.text
        assert all(record.levelno == logging.ERROR for record in caplog.records)
        server.reloading.look()
        assert caplog.text.count("cannot be read") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nobody, so that nobody could call; make a token with factstr-server token new"),
        ("# nothing\n\n", "names nobody"),
        ("somebody\n", "line 1: write `token ID NAME ROLES HASH` or `certificate IDENTITY NAME ROLES`"),
        ("# first\ntoken 1 a reader md5$00$00\n", "line 2: what is kept of the token is damaged"),
        (f"token 1 a reader sha256$00${'00' * 31}\n", "line 1: what is kept of the token is damaged"),
        (
            "certificate c a king\n",
            "line 1: the role is `king`; write one of reader, writer, consumer, admin",
        ),
        ("certificate c -a reader\n", "line 1: the name is `-a`"),
        ("certificate c a reader\ncertificate c b reader\n", "line 2: `c` stands in an earlier line already"),
    ],
)
def test_a_server_does_not_start_with_a_file_that_makes_no_sense(
    tokens: Tokens, text: str, said: str
) -> None:
    tokens.path.write_text(text, encoding="utf-8")
    with pytest.raises(StartupError) as refused:
        Server(with_tokens(tokens))
    assert str(refused.value).startswith(f"the tokens file {tokens.path}: ")
    assert said in str(refused.value)


def test_a_server_does_not_start_without_the_file_it_was_told_of(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot be read: No such file or directory"):
        Server(settings(tokens_file=str(tmp_path / "none")))
    (tmp_path / "latin").write_bytes(b"certificate \xe9 a reader\n")
    with pytest.raises(StartupError, match="it is not UTF-8 text"):
        Server(settings(tokens_file=str(tmp_path / "latin")))


def test_secrets_are_compared_in_constant_time_also_those_of_unknown_ids(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.add("a", Role.READER)
    callers = Callers(tokens.path.read_text(encoding="utf-8"))
    compared: list[tuple[bytes, bytes]] = []

    compare_digest = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return compare_digest(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert callers.by_token(token) is not None
    assert callers.by_token(f"factstr_000000000000_{token.split('_', 2)[2]}") is None
    assert callers.by_token("nonsense") is None
    assert len(compared) == 3
    assert {len(side) for pair in compared for side in pair} == {32}


def test_a_token_is_made_on_the_command_line_and_only_its_salted_hash_is_kept(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["token", "new", "--name", "billing", "--role", "writer"]) == 0
    token, line = capsys.readouterr().out.splitlines()
    callers = Callers(line)
    caller = callers.by_token(token)
    assert caller is not None
    assert caller.name == "billing"
    assert caller.roles == {Role.READER, Role.WRITER}
    assert token.split("_", 2)[2] not in line

    file = tmp_path / "tokens"
    file.write_text(line, encoding="utf-8")  # without a newline at its end
    for _ in range(2):
        assert (
            main(["token", "new", "--name", "p", "--role", "reader,consumer", "--tokens-file", str(file)])
            == 0
        )
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    callers = Callers(file.read_text(encoding="utf-8"))
    assert len(callers) == 3
    assert all(callers.by_token(made) for made in [token, *printed])
    assert len({line.split("$")[1] for line in file.read_text(encoding="utf-8").splitlines()}) == 3, "salts"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["token"], "say `token new` or `token roles`"),
        (["token", "old"], "say `token new` or `token roles`"),
        (["token", "new", "--role", "reader"], "token new takes --name and --role"),
        (["token", "new", "--name", "a b", "--role", "reader"], "the name is `a b`; write 1 to 64 letters"),
        (
            ["token", "new", "--name", "a", "--role", "king"],
            "the role is `king`; write one of reader, writer",
        ),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


async def _until_it_is(reason: str | None, channel: grpc.aio.Channel, token: str) -> None:
    async with asyncio.timeout(20):
        while True:
            failure = await append(channel, bearer(token))
            if (failure.reason if failure else None) == reason:
                return
            await asyncio.sleep(0.05)


async def _ended(stream: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> Failure:
    """How it ends, whatever it says before."""
    try:
        while await stream.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return failure_of(error)
    raise AssertionError


async def _one(request: bytes) -> AsyncIterator[bytes]:
    yield request


async def _never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_a_change_that_leaves_size_and_time_as_they_were_is_read_when_it_is_asked_for(
    tokens: Tokens,
) -> None:
    token = tokens.add("a", Role.WRITER)
    async with served(with_tokens(tokens)) as (server, channel):
        was = tokens.path.stat()
        tokens.path.write_text(tokens.path.read_text().replace(" writer ", " reader "), encoding="utf-8")
        os.utime(tokens.path, ns=(was.st_atime_ns, was.st_mtime_ns))
        server.reloading.read_again()
        refused = await append(channel, bearer(token))
        assert refused is not None
        assert refused.reason == "PERMISSION_DENIED"
