"""`factstr consume` runs a command on each batch, and acknowledges exactly what the command has done."""

import json
import os
import signal
from pathlib import Path

import grpc
import pytest

import factstr
from factstr.v1 import event_pb2, event_store_service_pb2
from tests.client.command import Command
from tests.client.fake_server import Refusal
from tests.client.fake_streams import (
    LEASE_LOST,
    LOST,
    Cursor,
    Durable,
    StreamingServer,
    durable_batches,
    durable_started,
)
from tests.client.running_command import CTRL_C, RunningCommand
from tests.client.server_process import Server

NAME = "inventory"
UNTIL = "--until-caught-up"
HEAD = Durable(caught_up=event_store_service_pb2.CaughtUp(head_sequence_number=1))

# Says that it is under way, waits until it may go on, and says that it is done.
SLOW = 'cat > /dev/null; echo under way; read answer < "$GATE"; echo done'


def acknowledged(fake: StreamingServer) -> int:
    return len(fake.seen(event_store_service_pb2.AcknowledgeDurableRequest))


@pytest.fixture
def two_batches(fake: StreamingServer) -> StreamingServer:
    fake.commit("1", "2")
    fake.commit("3")
    return fake


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What a slow command reads before it ends: a pipe, until somebody writes to it."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


def test_each_batch_is_on_stdin_as_a_query_prints_it(
    two_batches: StreamingServer, factstr_command: Command, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    command = f"echo begin >> {seen}; cat >> {seen}"
    assert factstr_command("consume", NAME, "--exec", command, UNTIL).code == 0
    lines = factstr_command("query").out.splitlines()
    assert seen.read_text().splitlines() == ["begin", *lines[:2], "begin", lines[2]]
    assert two_batches.streams[NAME].cursor == 3
    assert acknowledged(two_batches) == 2


def test_the_command_finds_its_batch_in_its_environment(
    two_batches: StreamingServer, factstr_command: Command, tmp_path: Path
) -> None:
    command = (
        'echo "$FACTSTR_DURABLE_STREAM $FACTSTR_FIRST_SEQUENCE_NUMBER $FACTSTR_LAST_SEQUENCE_NUMBER '
        f'$FACTSTR_LEASE_EPOCH" >> {tmp_path}/seen'
    )
    assert factstr_command("consume", NAME, "--exec", command, UNTIL).code == 0
    assert (tmp_path / "seen").read_text() == "inventory 1 2 1\ninventory 3 3 1\n"


@pytest.mark.parametrize(
    ("command", "how"), [("exit 3", "exited with 3"), ("kill -9 $$", "was ended by SIGKILL")]
)
def test_a_batch_whose_command_fails_is_named_and_not_acknowledged(
    two_batches: StreamingServer, factstr_command: Command, tmp_path: Path, command: str, how: str
) -> None:
    fail_on_third = f'test "$FACTSTR_LAST_SEQUENCE_NUMBER" = 2 || {{ {command}; }}'
    ended = factstr_command("consume", NAME, "--exec", fail_on_third, UNTIL)
    assert ended.code == 1
    assert ended.err == (
        f"factstr: inventory: the command {how} on batch 3; the batch is not acknowledged and will be delivered "
        "again\n"
    )
    assert two_batches.streams[NAME].cursor == 2
    assert factstr_command("consume", NAME, "--exec", f"cat > {tmp_path}/again", UNTIL).code == 0
    assert json.loads((tmp_path / "again").read_text())["sequence_number"] == 3


def test_a_command_that_does_not_read_its_stdin_breaks_nothing(
    fake: StreamingServer, factstr_command: Command
) -> None:
    fake.store(*(("a", "x" * 1_000_000) for _ in range(3)))
    assert factstr_command("consume", NAME, "--exec", "exec <&-; true", UNTIL).code == 0
    assert factstr_command("consume", "other", "--exec", "true", UNTIL).code == 0
    assert (fake.streams[NAME].cursor, fake.streams["other"].cursor) == (3, 3)


def test_a_consumer_sends_what_its_flags_say(fake: StreamingServer, factstr_command: Command) -> None:
    fake.commit("1")
    flags = f"--type a --payload 1 --from 1 --wait --max-unacknowledged 7 {UNTIL}"
    assert factstr_command("consume", NAME, "--exec", "true", *flags.split()).code == 0
    [request] = fake.seen(event_store_service_pb2.StreamToDurableRequest)
    alternative = event_pb2.EventFilter(
        event_types=event_pb2.EventTypes(any_of=["a"]),
        payload_predicates=event_pb2.PayloadPredicates(any_of=["1"]),
    )
    assert request.query == event_pb2.EventQuery(filters=[alternative])
    assert (request.start_after_sequence_number, request.max_unacknowledged_batches) == (1, 7)
    assert request.wait_for_lease


def test_a_new_name_may_begin_at_the_head_and_an_old_one_says_where_it_is(
    two_batches: StreamingServer, factstr_command: Command
) -> None:
    begin = ("consume", NAME, "--exec", "exit 1", "--from", "head", UNTIL)
    assert factstr_command(*begin).code == 0
    again = factstr_command(*begin)
    assert again.code == 0
    assert again.err.startswith("factstr: inventory is not new, so --from says nothing: it goes on after")


def test_a_terminal_says_where_it_begins_and_what_it_has_done(
    two_batches: StreamingServer, factstr_command: Command
) -> None:
    ended = factstr_command("consume", NAME, "--exec", "true", UNTIL, "--format", "table")
    assert ended.err.splitlines() == [
        "-- inventory: begins after 0, under lease 1 --",
        "-- inventory: 2 batches, 3 facts; all acknowledged up to the head, 3 --",
    ]


def test_a_name_that_is_taken_is_refused_with_what_helps(
    fake: StreamingServer, factstr_command: Command
) -> None:
    fake.streams[NAME] = Cursor(event_pb2.EventQuery(), 0, epoch=1, active=True)
    ended = factstr_command("consume", NAME, "--exec", "true")
    assert (ended.code, ended.err) == (
        1,
        "factstr: inventory is being consumed by somebody; --wait waits for it\n",
    )


def test_another_query_is_refused_with_what_helps(fake: StreamingServer, factstr_command: Command) -> None:
    assert factstr_command("consume", NAME, "--exec", "true", UNTIL).code == 0
    ended = factstr_command("consume", NAME, "--exec", "true", "--type", "a", UNTIL)
    assert ended.code == 1
    assert ended.err.startswith("factstr: inventory is bound to another query (`factstr durable show`")


def test_a_lease_that_is_lost_under_the_command_is_told_with_the_batch(
    fake: StreamingServer, factstr_command: Command
) -> None:
    fake.commit("1")
    fake.instead = [None, LEASE_LOST]
    ended = factstr_command("consume", NAME, "--exec", "true")
    assert ended.code == 1
    assert ended.err == (
        "factstr: inventory: the command has done batch 1, but it could not be acknowledged; whoever consumes "
        "inventory next gets it again, unless somebody has by now: the lease is lost\n"
    )


def test_a_lease_that_is_lost_while_waiting_is_told(fake: StreamingServer, factstr_command: Command) -> None:
    fake.play = [[durable_started(0, 1), HEAD, LEASE_LOST]]
    ended = factstr_command("consume", NAME, "--exec", "true")
    assert (ended.code, ended.err) == (1, "factstr: the lease is lost\n")


def test_an_acknowledgement_is_repeated_over_an_interruption(
    fake: StreamingServer, factstr_command: Command
) -> None:
    fake.commit("1")
    fake.instead = [None, LOST]
    ended = factstr_command("consume", NAME, "--exec", "true", UNTIL)
    assert (ended.code, fake.streams[NAME].cursor) == (0, 1)
    assert ended.err.splitlines() == [
        "factstr: the connection is lost; trying again until it is back",
        "factstr: connected again; going on after 1",
    ]


def test_a_failure_that_does_not_pass_ends_it(fake: StreamingServer, factstr_command: Command) -> None:
    refusal = Refusal(grpc.StatusCode.PERMISSION_DENIED, "needs the role consumer", "PERMISSION_DENIED")
    fake.play = [[durable_started(0, 1), durable_batches(1, (1, 1)), refusal]]
    fake.streams[NAME] = Cursor(event_pb2.EventQuery(), 0, epoch=1)
    ended = factstr_command("consume", NAME, "--exec", "true")
    assert (ended.code, ended.err) == (1, "factstr: needs the role consumer\n")


def test_who_waits_for_the_lease_says_whose_it_is_and_gets_it(fake: StreamingServer) -> None:
    fake.streams[NAME] = Cursor(event_pb2.EventQuery(), 0, epoch=1, active=True)
    fake.commit("1")
    with RunningCommand(fake.target, "consume", NAME, "--wait", "--exec", "wc -l", UNTIL) as consumer:
        assert consumer.read_error_line() == (
            "factstr: inventory is consumed by somebody (lease 1); waiting for it\n"
        )
        with fake.changed:
            fake.streams[NAME].active = False
            fake.changed.notify_all()
        assert consumer.read_until("\n").strip() == "1"
        assert consumer.wait() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_batch_under_way_is_finished_and_acknowledged_before_the_end(
    two_batches: StreamingServer, gate: Path, number: signal.Signals, code: int
) -> None:
    with RunningCommand(two_batches.target, "consume", NAME, "--exec", SLOW, GATE=str(gate)) as consumer:
        consumer.read_until("under way\n")
        consumer.send(number)
        assert consumer.read_error_line() == (
            "factstr: stopping after batch 1..2, which is under way; once more to stop at once\n"
        )
        gate.write_text("go on\n")
        assert consumer.read_until("done\n") == "done\n"
        assert (consumer.wait(), consumer.errors()) == (code, "")
    assert two_batches.streams[NAME].cursor == 2


def test_ctrl_c_does_not_reach_the_command_that_is_under_way(
    two_batches: StreamingServer, gate: Path
) -> None:
    with RunningCommand(
        two_batches.target, "consume", NAME, "--exec", SLOW, GATE=str(gate), terminal=True
    ) as consumer:
        consumer.read_until("under way\n")
        consumer.press(CTRL_C)
        consumer.read_until("once more to stop at once\n")
        gate.write_text("go on\n")
        consumer.read_until("done\n")
        assert consumer.wait() == 130
    assert two_batches.streams[NAME].cursor == 2


def test_a_second_signal_ends_the_command_and_the_consumer(two_batches: StreamingServer, gate: Path) -> None:
    command = f"trap 'echo ended; exit 1' TERM; {SLOW}"
    with RunningCommand(two_batches.target, "consume", NAME, "--exec", command, GATE=str(gate)) as consumer:
        consumer.read_until("under way\n")
        consumer.send(signal.SIGTERM)
        consumer.read_error_line()
        consumer.settle()
        consumer.send(signal.SIGTERM)
        assert consumer.read_until("ended\n") == "ended\n"
        assert consumer.wait() == 143
    assert two_batches.streams[NAME].cursor == 0


def test_a_third_signal_leaves_no_command_behind_that_does_not_heed_the_second(
    two_batches: StreamingServer,
) -> None:
    command = "trap 'echo heard' TERM; echo $$; while :; do sleep 0.05; done"
    with RunningCommand(two_batches.target, "consume", NAME, "--exec", command) as consumer:
        pid = int(consumer.read_until("\n"))
        consumer.send(signal.SIGTERM)
        consumer.read_error_line()
        consumer.settle()
        consumer.send(signal.SIGTERM)
        consumer.read_until("heard\n")
        consumer.settle()
        consumer.send(signal.SIGINT)
        consumer.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_consumer_that_has_nothing_to_do_ends_at_once(
    fake: StreamingServer, number: signal.Signals, code: int
) -> None:
    with RunningCommand(
        fake.target, "consume", NAME, "--exec", "true", terminal=True, NO_COLOR="1"
    ) as consumer:
        consumer.read_until("inventory: at the head, 0; waiting --\n")
        consumer.send(number)
        assert consumer.wait() == code


def test_a_consumer_of_a_real_server_does_every_batch_through_its_death(
    server: Server, tmp_path: Path
) -> None:
    command = f"cat >> {tmp_path}/seen; echo $FACTSTR_LAST_SEQUENCE_NUMBER"
    with (
        factstr.connect(server.target) as store,
        RunningCommand(server.target, "consume", NAME, "--exec", command) as consumer,
    ):
        store.append([factstr.Event("a", 1), factstr.Event("a", 2)])
        consumer.read_until("2\n")
        assert store.await_durable_stream(NAME, 2).reached
        server.kill()
        server.start()
        store.append(factstr.Event("a", 3), idempotency_key="3")
        consumer.read_until("3\n")
        assert store.await_durable_stream(NAME, 3).reached
        consumer.send(signal.SIGTERM)
        assert consumer.wait() == 0
    seen = [json.loads(line)["payload"] for line in (tmp_path / "seen").read_text().splitlines()]
    assert seen == [1, 2, 3]
