"""The Dockerfile's promises that need no container: its variables, its steps, and what is locked for it."""

import os
import re
import shlex
from pathlib import Path

import pytest

from factstr_server.cli import main
from factstr_server.cli.serving import settings_from
from tests.deploy.image import DOCKERFILE, ROOT, port_of, said, variables


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z][\w.-]*)==(\S+)", lock.read_text(encoding="utf-8"), re.MULTILINE))


def test_the_server_takes_the_images_variables_and_opens_the_ports_that_it_exposes() -> None:
    settings = settings_from([], {**variables(), "FACTSTR_INSECURE": "1"})
    opened = [*settings.listen, settings.health_listen, settings.metrics_listen]
    assert [port_of(address) for address in opened] == [int(port) for port in said("EXPOSE").split()]
    assert settings.store == f"sqlite:///{said('VOLUME')}/factstr.db"
    assert settings.log_format == "json"


def test_without_tls_and_tokens_the_image_does_not_serve_the_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        settings_from([], variables())
    assert "without TLS and tokens" in capsys.readouterr().err


def test_the_health_check_is_a_command_of_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    [check] = re.findall(r"^HEALTHCHECK .*CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    program, *arguments = shlex.split(check.replace(",", ""))
    assert program == "factstr-server"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    assert f"usage: factstr-server {arguments[0]}" in capsys.readouterr().out


def test_every_step_is_a_script_that_can_be_run_without_an_engine() -> None:
    steps = re.findall(r"^RUN (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(steps) == 3
    for step in steps:
        assert os.access(ROOT / "deploy" / "image" / Path(step).name, os.X_OK), step


@pytest.mark.parametrize("lock", ["requirements.lock", "build-requirements.lock"])
def test_the_image_holds_the_versions_that_are_tested(lock: str) -> None:
    assert pins(ROOT / "deploy" / "image" / lock).items() <= pins(ROOT / "requirements.lock").items()
