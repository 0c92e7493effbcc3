"""What the log says of calls: who called what, how it ended, and nothing of what was carried."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest

from factstr_server.access.roles import Role
from factstr_server.contract.errors import server_busy
from factstr_server.rpc.call import EndedCall, Rpc
from factstr_server.telemetry import logs
from tests.fuzzing import http2
from tests.security.calls import METHODS, answer, append, unary
from tests.security.conftest import Tokens, bearer, served, settings, with_tokens
from tests.waiting import until

APPEND_RPC = "factstr.v1.EventStoreService.Append"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What the log says, in the format that a test configures."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield io.StringIO()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


async def test_a_call_leaves_a_line_with_who_what_how_and_how_long(tokens: Tokens, out: io.StringIO) -> None:
    token = tokens.add("billing", Role.WRITER)
    logs.configure("json", out)
    async with served(with_tokens(tokens, log_calls="all")) as (_, channel):
        assert await append(channel, (*bearer(token), ("x-request-id", "order-7"))) is None
    [line] = lines(out)
    assert line.keys() == {
        *("time", "level", "logger", "message"),
        *("request_id", "peer", "token", "method", "code", "seconds"),
    }
    assert (line["request_id"], line["token"], line["code"]) == ("order-7", "billing", "OK")
    assert line["method"] == "factstr.v1.EventStoreService/Append"
    assert str(line["peer"]).startswith("ipv4:127.0.0.1:")
    seconds = line["seconds"]
    assert isinstance(seconds, float)
    assert 0 < seconds < 20


async def test_the_same_as_text_is_one_line_for_people(tokens: Tokens, out: io.StringIO) -> None:
    token = tokens.add("billing", Role.WRITER)
    logs.configure("text", out)
    async with served(with_tokens(tokens, log_calls="all")) as (_, channel):
        assert await append(channel, (*bearer(token), ("x-request-id", "order 7"))) is None
    [line] = out.getvalue().splitlines()
    for expected in (" INFO factstr_server.calls: Append: OK", 'request_id="order 7"', "token=billing"):
        assert expected in line


async def test_a_failed_call_leaves_its_reason_and_the_id_that_its_client_is_told(out: io.StringIO) -> None:
    logs.configure("json", out)
    async with served(settings()) as (_, channel):
        call = unary(channel, "/factstr.v1.EventStoreService/Append")(b"")
        told = dict(await call.trailing_metadata())
    [line] = lines(out)
    assert (line["code"], line["reason"], line["level"]) == ("INVALID_ARGUMENT", "EMPTY_APPEND", "info")
    assert line["request_id"] == told["x-request-id"]


async def test_what_goes_well_or_belongs_to_the_ordinary_course_leaves_no_line_unless_it_is_asked_for(
    out: io.StringIO,
) -> None:
    logs.configure("json", out)
    for log_calls, expected in (("none", 0), ("failed", 1), ("all", 3)):
        out.truncate(0)
        out.seek(0)
        async with served(settings(log_calls=log_calls)) as (_, channel):
            assert await append(channel) is None
            assert await append(channel, events=0) is not None
            conflict = (
                b"\n\x06\n\x01a\x12\x011" + b"\x18\x07"
            )  # a fact, and an expected version that is not there
            with pytest.raises(Exception, match="context has changed"):
                await unary(channel, "/factstr.v1.EventStoreService/AppendIf")(conflict)
        assert len(lines(out)) == expected


async def test_nothing_that_a_call_carries_is_in_the_log(tokens: Tokens, out: io.StringIO) -> None:
    logs.configure("json", out)
    token = tokens.add("a", Role.READER)
    async with served(with_tokens(tokens, log_calls="all")) as (_, channel):
        for rpc in METHODS:
            await answer(channel, rpc, bearer(token))
        await answer(channel, APPEND_RPC, bearer(token[:-1]))
        secret = b"\n\x12\n\x04note\x12\nsecretword"
        with pytest.raises(Exception, match=r"(?i)permission|role"):
            await unary(channel, "/factstr.v1.EventStoreService/Append")(secret, metadata=bearer(token))
    said = out.getvalue()
    assert len(lines(out)) == len(METHODS) + 2
    assert token.split("_", 2)[2] not in said
    assert token.split("_", 2)[2][:-1] not in said
    assert "secretword" not in said
    denied = [line for line in lines(out) if line["code"] == "PERMISSION_DENIED"]
    assert {line["token"] for line in denied} == {"a"}, "who may not is known all the same"


async def test_a_request_id_cannot_forge_a_line(out: io.StringIO) -> None:
    logs.configure("text", out)
    async with served(settings(log_calls="all")) as (_, channel):
        assert await append(channel, (("x-request-id", "a" * 500),)) is None
    [line] = out.getvalue().splitlines()
    assert len(line) < 400


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31m", "a b", 'a"b', ""])
def test_no_value_forges_a_line_of_text(out: io.StringIO, name: str) -> None:
    logs.configure("text", out)
    logging.getLogger("factstr_server").info("said", extra={"fields": {"peer": name}})
    [line] = out.getvalue().splitlines()
    assert line.endswith(f"said peer={json.dumps(name)}")
    assert line.isprintable()


async def test_headers_that_are_no_text_leave_no_trace_of_them(tokens: Tokens, out: io.StringIO) -> None:
    """GRPC writes them to its own log, with what they hold."""
    logs.configure("text", out)
    token = tokens.add("a", Role.WRITER)
    async with served(with_tokens(tokens)) as (server, _):
        host, _, port = server.addresses[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        block = http2.headers(http2.APPEND, (b"authorization", f"Bearer {token}".encode() + b"\xff"))
        writer.write(http2.PREFACE + http2.frame(4, 0, 0) + http2.frame(1, 5, 1, block))
        # A ping's answer comes after the call was taken in.
        writer.write(http2.frame(6, 0, 0, b"afterwar"))
        async with asyncio.timeout(10):
            while b"afterwar" not in await reader.read(65_536):
                pass
        await until(lambda: server._edge.refusals["UNAUTHENTICATED"] == 1, "the call was refused")
        writer.close()
        await writer.wait_closed()
    assert token.split("_", 2)[2] not in out.getvalue()


def test_a_flood_of_calls_is_no_flood_of_lines(out: io.StringIO) -> None:
    logs.configure("json", out)
    now = 0.0
    log = logs.CallLog("failed", lambda: now)
    rpc = Rpc(METHODS[APPEND_RPC], while_draining=False)
    call = EndedCall(rpc, "", 8, 0.1, server_busy("busy", limit=1, actual=2), _Context())  # type: ignore[arg-type]
    for _ in range(1_000):
        log(call)
    assert len(lines(out)) == logs.MOST_LINES_A_SECOND
    now = 1.0
    log(call)
    left_out, last = lines(out)[-2:]
    assert left_out["message"] == f"calls that left no line of their own: {1_000 - logs.MOST_LINES_A_SECOND}"
    assert last["reason"] == "SERVER_BUSY"


def test_an_exception_is_one_line_of_json(out: io.StringIO) -> None:
    logs.configure("json", out)
    try:
        raise ValueError("told")
    except ValueError:
        logging.getLogger("factstr_server").exception("something failed")
    [line] = lines(out)
    assert line["message"] == "something failed"
    assert "ValueError: told" in str(line["exception"])


class _Context:
    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> None:
        return None
