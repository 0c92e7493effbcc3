"""`factstr-server` on the command line: what its flags and variables become, and what it refuses."""

from datetime import timedelta

import pytest

from factstr_server.cli import settings_from
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


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:99999", "127.0.0.1:", ":50051", "127.0.0.1:http"])
def test_what_is_no_address_is_refused(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert f"{address} is no address; write host:port" in refusal(capsys, "--listen", address)


def test_a_variable_that_is_neither_yes_nor_no_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "FACTSTR_INSECURE=maybe" in refusal(capsys, FACTSTR_INSECURE="maybe")


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf"])
def test_seconds_are_a_positive_number(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert "no positive number of seconds" in refusal(capsys, "--drain-seconds", seconds)
    assert "no positive number of seconds" in refusal(capsys, FACTSTR_DRAIN_SECONDS=seconds)
