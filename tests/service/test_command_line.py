"""`factstr-server` on the command line: what its flags and variables become, and what it refuses."""

from datetime import timedelta
from pathlib import Path

import pytest

from factstr_server.cli import main
from factstr_server.cli.serving import settings_from
from factstr_server.settings import Settings


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, **environment: str) -> str:
    with pytest.raises(SystemExit) as ended:
        settings_from(arguments, environment)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_nothing_said_means_the_defaults() -> None:
    assert settings_from([], {}) == settings_from(["serve"], {}) == Settings()


def test_flags_win_over_variables() -> None:
    environment = {
        "FACTSTR_STORE": "memory:",
        "FACTSTR_LISTEN": "127.0.0.1:1, unix:/a",
        "FACTSTR_DRAIN_SECONDS": "3",
    }
    assert settings_from([], environment) == Settings(
        store="memory:", listen=("127.0.0.1:1", "unix:/a"), drain=timedelta(seconds=3)
    )
    flags = ["--store", "sqlite:///x.db", "--listen", "[::1]:2", "--idempotency-retention", "60"]
    assert settings_from(flags, environment) == Settings(
        store="sqlite:///x.db",
        listen=("[::1]:2",),
        drain=timedelta(seconds=3),
        idempotency_retention=timedelta(minutes=1),
    )


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "factstr.example:50051"])
def test_an_address_beyond_this_machine_needs_insecure(
    capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert "--insecure" in refusal(capsys, "--listen", address)
    assert settings_from(["--listen", address, "--insecure"], {}).listen == (address,)
    assert settings_from(["--listen", address], {"FACTSTR_INSECURE": "yes"}).insecure


def test_an_address_beyond_this_machine_takes_tls_and_tokens_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tls = ["--tls-cert", "c", "--tls-key", "k"]
    tokens = ["--tokens-file", "t"]
    listen = ["--listen", "0.0.0.0:50051"]
    assert settings_from([*listen, *tls, *tokens], {}).listen == ("0.0.0.0:50051",)
    mutual = ["--tls-client-ca", "a"]
    for too_little in (tls, tokens, [*tls, *mutual]):
        said = refusal(capsys, *listen, *too_little)
        assert "give --tls-cert, --tls-key and --tokens-file" in said
    for local in ("127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/s"):
        assert settings_from(["--listen", local], {}).listen == (local,)


def test_probes_and_metrics_may_be_reached_from_beyond_this_machine() -> None:
    settings = settings_from(["--health-listen", "0.0.0.0:1", "--metrics-listen", "0.0.0.0:2"], {})
    assert (settings.health_listen, settings.metrics_listen) == ("0.0.0.0:1", "0.0.0.0:2")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tls-cert", "c"], "--tls-cert and --tls-key belong together; give both"),
        (["--tls-key", "k"], "--tls-cert and --tls-key belong together; give both"),
        (["--tls-client-ca", "a"], "which takes TLS; give --tls-cert and --tls-key too"),
        (["--health-listen", "here"], "--health-listen here is no address; write host:port or unix:/path"),
        (["--metrics-listen", "unix:/m"], "--metrics-listen unix:/m is no address; write host:port"),
        (["--max-streams", "0"], "'0' is no whole number from 1"),
        (["--max-appends-per-token", "many"], "'many' is no whole number from 1"),
        (["--log-format", "xml"], "invalid choice: 'xml'"),
    ],
)
def test_flags_that_make_no_sense_are_refused(
    capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert said in refusal(capsys, *flags)


def test_limits_and_choices_are_variables_too(capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_from([], {"FACTSTR_MAX_STREAMS": "7", "FACTSTR_LOG_CALLS": "all"})
    assert (settings.max_streams, settings.log_calls) == (7, "all")
    assert "FACTSTR_LOG_FORMAT=xml: write one of text, json" in refusal(capsys, FACTSTR_LOG_FORMAT="xml")
    assert "'0' is no whole number" in refusal(capsys, FACTSTR_MAX_APPENDS="0")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "127.0.0.1:", ":50051", "127.0.0.1:http"])
def test_what_is_no_address_is_refused(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert f"{address} is no address; write host:port" in refusal(capsys, "--listen", address)


def test_a_variable_that_is_neither_yes_nor_no_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "FACTSTR_INSECURE=maybe" in refusal(capsys, FACTSTR_INSECURE="maybe")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_seconds_are_a_positive_number(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert "no positive number of seconds" in refusal(capsys, "--drain-seconds", seconds)
    assert "no positive number of seconds" in refusal(capsys, FACTSTR_DRAIN_SECONDS=seconds)


def test_how_long_a_store_is_waited_for_and_its_replica_are_settings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store, replica = "postgresql://app@db/facts", "postgresql://app@replica/facts"
    wanted = Settings(store=store, read_store=replica, unavailable_wait=timedelta(seconds=2.5))
    flags = ["--store", store, "--read-store", replica, "--unavailable-wait", "2.5"]
    assert settings_from(flags, {}) == wanted
    environment = {
        "FACTSTR_STORE": store,
        "FACTSTR_READ_STORE": replica,
        "FACTSTR_UNAVAILABLE_WAIT": "2.5",
    }
    assert settings_from([], environment) == wanted
    assert "no positive number of seconds" in refusal(capsys, "--unavailable-wait", "0")


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"]])
def test_help_names_every_command_store_and_flag(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert ends(arguments) == 0
    said = capsys.readouterr().out
    for expected in (
        *("factstr-server migrate --store URL", "factstr-server copy --from URL --to URL", "memory:"),
        *("sqlite:////absolute.db", "postgresql://user@host:5432/database?schema=factstr", "listen=off"),
        *("--unavailable-wait SECONDS", "--read-store URL", "examples:"),
        *("factstr-server backup --store URL --to FILE", "factstr-server verify --store URL"),
        "factstr-server restore --from FILE (--store URL | --check)",
    ):
        assert expected in said


@pytest.mark.parametrize("command", ["backup", "verify", "restore"])
def test_each_command_on_files_has_help_with_an_example(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert ends([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"example:\n  factstr-server {command} --" in said
    assert "sqlite:////absolute.db" in said


@pytest.mark.parametrize("command", ["migrate", "copy"])
def test_each_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert ends([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"example:\n  factstr-server {command} --" in said
    assert "postgresql://user@host:5432/database?schema=factstr" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["frobnicate"],
            "'frobnicate'; one of serve, migrate, copy, backup, verify, restore, token, health",
        ),
        (["migrate"], "--store is missing (or FACTSTR_STORE)"),
        (["backup", "--store", "sqlite:///x.db"], "--to is missing (or FACTSTR_TO)"),
        (["backup", "--to", "x"], "--store is missing (or FACTSTR_STORE)"),
        (["verify"], "--store is missing (or FACTSTR_STORE)"),
        (["restore", "--store", "sqlite:///x.db"], "--from is missing (or FACTSTR_FROM)"),
        (["restore", "--from", "x"], "--store is missing (or FACTSTR_STORE), or --check"),
        (["copy", "--from", "sqlite:///x.db"], "--to is missing (or FACTSTR_TO)"),
        (["copy", "--to", "sqlite:///x.db"], "--from is missing (or FACTSTR_FROM)"),
        (["migrate", "--store", "memory:", "more"], "unknown: more"),
        (["migrate", "--storage", "memory:"], "unknown: --storage memory:"),
        (["--read-store", "postgresql://h/d"], "--read-store needs PostgreSQL, and --store is 'sqlite:///"),
        (["--store", "postgresql://h/d", "--read-store", "memory:"], "and --read-store is 'memory:'"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    for name in ("FACTSTR_STORE", "FACTSTR_FROM", "FACTSTR_TO"):
        monkeypatch.delenv(name, raising=False)
    assert ends(arguments) == 2
    assert expected in capsys.readouterr().err


def ends(arguments: list[str]) -> int:
    """The code with which the process ends by itself."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_migrate_says_what_it_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/facts.db"
    assert main(["migrate", "--store", url]) == 0
    assert capsys.readouterr().out == f"{url}: created, with format 2\n"
    monkeypatch.setenv("FACTSTR_STORE", url)
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == f"{url}: has format 2 already; nothing to do\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["migrate", "--store", "memory:"], "a memory store ends with its server: it cannot be migrated"),
        (["migrate", "--store", "sqlite:///no/folder/x.db"], "there is no folder no/folder"),
        (["migrate", "--store", "x"], "store 'x' cannot be migrated; write sqlite:///relative.db"),
        (["backup", "--store", "memory:", "--to", "x"], "ends with its server: it cannot be backed up"),
        (["verify", "--store", "postgresql://h/d"], "cannot be verified by this command, which is for files"),
        (["verify", "--store", "sqlite:///none.db"], "there is no store at none.db"),
        (["restore", "--from", "none", "--store", "sqlite:///x.db"], "there is no backup at none"),
        (["restore", "--from", "none", "--check"], "there is no backup at none"),
        (["copy", "--from", "memory:", "--to", "sqlite:///x.db"], "it cannot be copied"),
        (["copy", "--from", "sqlite:///none.db", "--to", "sqlite:///x.db"], "there is no store at none.db"),
    ],
)
def test_a_failure_is_one_line_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert expected in said.err
    assert said.err.startswith("factstr-server: ")
    assert said.err.count("\n") == 1
    assert said.out == ""
