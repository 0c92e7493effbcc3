"""An import stores every fact once and in order, however often it is begun; an export is what an import takes."""

import gzip
import json
import re
from collections.abc import Sequence
from errno import EIO
from io import BufferedReader
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstr
from factstr.v1 import event_store_service_pb2
from tests.client.command import Command
from tests.client.fake_server import FakeServer, Refusal
from tests.client.test_ndjson import BREAKS, json_texts

LOST = Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost")
FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room", "STORE_FULL")
BROKEN = Refusal(grpc.StatusCode.INTERNAL, "the disk is on fire", "STORE_CORRUPT")


def lines_of(count: int, *, start: int = 0) -> list[str]:
    return [f'{{"event_type":"a","payload":{{ "n":{number}.0}}}}\n' for number in range(start, start + count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "facts.ndjson"
    file.write_text("".join(lines_of(10)))
    return file


def payloads(fake: FakeServer) -> list[str]:
    return [record.payload for record in fake.records]


def expected(numbers: Sequence[int]) -> list[str]:
    return [f'{{ "n":{number}.0}}' for number in numbers]


def test_facts_are_stored_in_order_and_byte_for_byte(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    ended = factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    assert payloads(fake) == expected(range(10))
    keys = [request.idempotency_key for request in fake.seen(event_store_service_pb2.AppendRequest)]
    assert (ended.code, keys) == (0, ["p/0", "p/4", "p/8"])
    [summary] = ended.lines
    assert summary.pop("seconds") >= 0
    assert summary == {
        "facts": 10,
        "new": 10,
        "already_there": 0,
        "first_sequence_number": 1,
        "last_sequence_number": 10,
        "idempotency_prefix": "p",
    }


def test_importing_the_same_file_again_adds_nothing(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    for new, already_there in [(10, 0), (0, 10)]:
        ended = factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
        assert (ended.lines[0]["new"], ended.lines[0]["already_there"]) == (new, already_there)
    assert payloads(fake) == expected(range(10))


def test_an_interrupted_import_goes_on_where_it_was(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    fake.instead = [None, None, BROKEN]
    stopped = factstr_command("import", str(file), "--batch", "4")
    assert (stopped.code, stopped.out) == (1, "")
    assert stopped.err.startswith(f"factstr: {file}:5-8: the disk is on fire")
    hint = stopped.err.splitlines()[-1]
    assert hint.startswith(
        "at least 4 facts are stored (4 new, 0 already there), and the next 4 may be; "
        "go on with --idempotency-prefix "
    )
    resumed = factstr_command("import", str(file), *hint.partition("go on with ")[2].split())
    assert (resumed.lines[0]["new"], resumed.lines[0]["already_there"]) == (6, 4)
    assert payloads(fake) == expected(range(10))


def test_no_append_is_sent_before_the_one_before_it_is_stored(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    fake.instead = [None, None, BROKEN]
    assert factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p").code == 1
    keys = [request.idempotency_key for request in fake.seen(event_store_service_pb2.AppendRequest)]
    assert keys == ["p/0", "p/4"], "never p/8, which would be stored without p/4"


def test_of_a_refused_append_and_a_bad_line_after_it_the_append_is_named(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    file.write_text("".join([*lines_of(5), "nonsense\n"]))
    fake.instead = [None, BROKEN]
    ended = factstr_command("import", str(file), "--batch", "4")
    assert ended.err.startswith(f"factstr: {file}:1-4: the disk is on fire")
    assert "at least 0 facts are stored (0 new, 0 already there), and the next 4 may be; " in ended.err


@pytest.mark.parametrize("lost", [False, True])
def test_a_first_append_whose_answer_is_lost_does_not_take_the_prefix_with_it(
    fake: FakeServer, factstr_command: Command, file: Path, lost: bool
) -> None:
    fake.instead = [None, BROKEN if lost else FULL]
    ended = factstr_command("import", str(file), "--batch", "4")
    hint = ended.err.splitlines()[-1]
    if not lost:
        assert hint == "this run has stored nothing"
        return
    assert hint.startswith(
        "at least 0 facts are stored (0 new, 0 already there), and the next 4 may be; go on"
    )
    assert factstr_command("import", str(file), *hint.partition("go on with ")[2].split()).code == 0


class Breaking(BufferedReader):
    """A file whose reading breaks off after six lines."""

    breaks_with: BaseException
    count = 0

    def readline(self, size: int | None = -1) -> bytes:
        self.count += 1
        if self.count > 6:
            raise self.breaks_with
        return super().readline(size)


def test_a_file_that_breaks_off_does_not_take_the_prefix_with_it(
    fake: FakeServer, factstr_command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaking, "breaks_with", OSError(EIO, "Input/output error"), raising=False)
    monkeypatch.setattr("factstr.cli.source.io.BufferedReader", Breaking)
    ended = factstr_command("import", str(file), "--batch", "4")
    assert ended.err.startswith(f"factstr: {file}:7: cannot be read: Input/output error\n4 facts are stored")
    assert "go on with --idempotency-prefix" in ended.err


def test_an_import_that_is_stopped_while_it_reads_on_names_its_prefix(
    fake: FakeServer, factstr_command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Breaking, "breaks_with", KeyboardInterrupt(), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("factstr.cli.source.io.BufferedReader", Breaking)
        ended = factstr_command("import", str(file), "--batch", "4")
    hint = ended.err.splitlines()[-1]
    # The first batch is answered or not: whoever goes on stores it once.
    assert ended.code == 130
    assert re.match("factstr: stopped; (4 facts are|at least 0 facts are .* next 4 may be)", hint) or (
        hint == "factstr: stopped; this run has stored nothing" and fake.records == []
    )


def test_what_is_answered_when_an_import_is_stopped_is_counted(
    fake: FakeServer, factstr_command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = factstr.Appender.append

    def answered(appender: factstr.Appender, *arguments: Any, **named: Any) -> factstr.PendingAppend:
        pending = append(appender, *arguments, **named)
        pending.exception()
        return pending

    monkeypatch.setattr(factstr.Appender, "append", answered)
    monkeypatch.setattr(Breaking, "breaks_with", KeyboardInterrupt(), raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("factstr.cli.source.io.BufferedReader", Breaking)
        ended = factstr_command("import", str(file), "--batch", "4")
    hint = ended.err.splitlines()[-1]
    assert hint.startswith("factstr: stopped; 4 facts are stored (4 new, 0 already there); go on with --idem")
    resumed = factstr_command("import", str(file), *hint.partition("go on with ")[2].split())
    assert (resumed.lines[0]["new"], resumed.lines[0]["already_there"]) == (6, 4)


def test_a_lost_connection_is_bridged(fake: FakeServer, factstr_command: Command, file: Path) -> None:
    fake.instead = [None, None, LOST, LOST]
    assert factstr_command("import", str(file), "--batch", "4").code == 0
    assert payloads(fake) == expected(range(10))


def test_an_import_without_a_prefix_adds_its_facts_each_time(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    factstr_command("import", str(file))
    factstr_command("import", str(file))
    assert payloads(fake) == expected(range(10)) * 2


def test_another_batch_size_with_the_same_prefix_stores_nothing_twice(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    for size in ("3", "5", "100"):
        ended = factstr_command("import", str(file), "--batch", size, "--idempotency-prefix", "p")
        assert ended.code == 1
        assert f"{file}:1: the import 'p' has stored other facts at this place" in ended.err
        assert "another --batch" in ended.err
        assert ended.err.endswith("this run has stored nothing\n")
    assert payloads(fake) == expected(range(10))


def test_a_file_that_has_grown_is_refused_where_it_differs(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    file.write_text("".join(lines_of(20)))
    ended = factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    assert ended.code == 1
    assert f"{file}:9: the import 'p' has stored other facts" in ended.err
    assert payloads(fake) == expected(range(10))


def test_a_bad_line_stops_the_import_and_can_be_mended(
    fake: FakeServer, factstr_command: Command, file: Path
) -> None:
    good = lines_of(10)
    file.write_text("".join([*good[:6], '{"event_type":"a"}\n', *good[7:]]))
    ended = factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    assert ended.code == 1
    assert ended.err.startswith(f"factstr: {file}:7: payload is missing\n4 facts are stored")
    # Only whole batches were stored, so the mended file is cut as if it had never been bad.
    assert payloads(fake) == expected(range(4))
    file.write_text("".join(good))
    assert factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p").code == 0
    assert payloads(fake) == expected(range(10))


def test_an_event_that_the_server_refuses_is_named_by_its_line(
    fake: FakeServer, factstr_command: Command, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "_check", lambda path, payload, context: refuse(path, payload, context, "6.0"))
    ended = factstr_command("import", str(file), "--batch", "4", "--idempotency-prefix", "p")
    assert ended.code == 1
    assert ended.err.startswith(f"factstr: {file}:7: payload: seems unlucky\n4 facts are stored")


def refuse(path: str, payload: str, context: grpc.ServicerContext, number: str) -> None:
    if number in payload:
        violation = error_details_pb2.BadRequest.FieldViolation(field=path, description="seems unlucky")
        details = [error_details_pb2.BadRequest(field_violations=[violation])]
        Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no", "INVALID_PAYLOAD", details=details).end(context)


def test_batches_stay_within_the_limits_of_the_server(fake: FakeServer, factstr_command: Command) -> None:
    fake.limits.max_events_per_append, fake.limits.max_append_bytes = 7, 90
    facts = "".join(lines_of(20)).encode()
    assert factstr_command("import", stdin=facts).code == 0
    requests = fake.seen(event_store_service_pb2.AppendRequest)
    assert payloads(fake) == expected(range(20))
    assert max(len(request.events) for request in requests) <= 7
    assert max(sum(event.ByteSize() for event in request.events) for request in requests) <= 90


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("from_stdin", [False, True])
def test_a_file_may_be_packed_and_may_come_from_stdin(
    fake: FakeServer, factstr_command: Command, tmp_path: Path, packed: bool, from_stdin: bool
) -> None:
    data = "".join(lines_of(10)).encode()
    data = gzip.compress(data) if packed else data
    (tmp_path / "facts").write_bytes(data)
    ended = (
        factstr_command("import", stdin=data)
        if from_stdin
        else factstr_command("import", str(tmp_path / "facts"))
    )
    assert (ended.code, payloads(fake)) == (0, expected(range(10)))


def test_a_packed_file_that_was_cut_off_stops_the_import(
    fake: FakeServer, factstr_command: Command, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress("".join(lines_of(5000)).encode())[:-100])
    ended = factstr_command("import", str(cut), "--batch", "100")
    assert ended.code == 1
    assert "the gzip data ends or breaks here" in ended.err
    assert len(fake.records) % 100 == 0


def test_what_is_not_text_is_named_by_its_line(factstr_command: Command) -> None:
    ended = factstr_command("import", stdin=b'\n{"event_type":"\xff","payload":1}\n')
    assert (ended.code, ended.err.splitlines()[0]) == (1, "factstr: <stdin>:2: not UTF-8 at byte 16")


def test_a_byte_order_mark_and_windows_line_ends_are_no_harm(
    fake: FakeServer, factstr_command: Command
) -> None:
    ended = factstr_command("import", stdin=b'\xef\xbb\xbf{"event_type":"a","payload":1}\r\n\r\n')
    assert (ended.code, payloads(fake)) == (0, ["1"])


def test_an_empty_file_is_no_harm(fake: FakeServer, factstr_command: Command) -> None:
    ended = factstr_command("import", "--format", "table")
    assert (ended.code, fake.records) == (0, [])
    assert ended.out.startswith("<stdin>: 0 facts, 0 new, 0 already there")


def test_a_file_that_is_not_there_is_named(factstr_command: Command) -> None:
    ended = factstr_command("import", "nowhere.ndjson")
    assert (ended.code, ended.err) == (1, "factstr: nowhere.ndjson: No such file or directory\n")


@pytest.mark.parametrize("name", ["facts.ndjson", "facts.ndjson.gz"])
def test_an_export_can_be_imported_again(
    fake: FakeServer, factstr_command: Command, tmp_path: Path, name: str
) -> None:
    fake.store(*(("a", number) for number in range(3)))
    fake.records[0].payload, fake.records[1].payload = '{\n  "b": 1.0\r\n}', '"\u2028"'
    fake.records[2].metadata["source"] = "desk"
    out = tmp_path / name
    ended = factstr_command("export", str(out))
    assert (ended.code, ended.out, ended.err) == (0, "", f"{out}: 3 facts\n")
    assert factstr_command("import", str(out)).code == 0
    before, after = fake.records[:3], fake.records[3:]
    assert [(r.event_type, r.payload, r.metadata) for r in after] == [
        (r.event_type, r.payload, r.metadata) for r in before
    ]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(texts=st.lists(json_texts(BREAKS), min_size=1, max_size=5))
def test_any_payload_survives_export_and_import(
    fake: FakeServer, factstr_command: Command, texts: list[str]
) -> None:
    fake.records.clear()
    fake.store(*(("a", None) for _ in texts))
    for record, text in zip(fake.records, texts, strict=True):
        record.payload = text
    exported = factstr_command("export").out.encode()
    assert factstr_command("import", stdin=exported).code == 0
    assert payloads(fake) == texts * 2


def test_an_export_takes_the_flags_of_a_query(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(*(("even" if number % 2 == 0 else "odd", number) for number in range(1, 11)))
    ended = factstr_command("export", "--type", "even", "--after", "2", "--before", "10", "--limit", "2")
    assert [line["payload"] for line in ended.lines] == [4, 6]


def test_an_export_that_fails_leaves_the_file_as_it_was(
    fake: FakeServer, factstr_command: Command, tmp_path: Path
) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 1, [3]
    fake.instead = [None, BROKEN]
    out = tmp_path / "facts.ndjson"
    out.write_text("precious")
    assert factstr_command("export", str(out)).code == 1
    assert out.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [out]


def test_an_interrupted_export_is_whole_and_one_snapshot(fake: FakeServer, factstr_command: Command) -> None:
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages = 1, [3, 4]
    ended = factstr_command("export")
    assert [json.loads(line)["sequence_number"] for line in ended.out.splitlines()] == list(range(1, 11))
