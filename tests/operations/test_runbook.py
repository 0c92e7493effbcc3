"""The runbook says everything that it should: each flag and variable, each metric."""

import re
from pathlib import Path

import pytest

from factstr_server.cli import main
from factstr_server.server import running
from factstr_server.telemetry.metrics import ServerMetrics
from tests.architecture.repository import ROOT
from tests.security.conftest import Tls, with_tls

RUNBOOK = Path(ROOT / "docs/operations.md").read_text(encoding="utf-8")


def test_it_names_every_flag_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    flags = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, re.MULTILINE)) - {"--version"}
    rows = {
        row[1]: row[2] for row in re.finditer(r"^\| `(--[a-z-]+)[^`]*` \| `(\w+)` \|", RUNBOOK, re.MULTILINE)
    }
    assert rows == {flag: "FACTSTR_" + flag[2:].replace("-", "_").upper() for flag in sorted(flags)}


async def test_it_names_every_metric(tls: Tls) -> None:
    async with running(with_tls(tls)) as server:
        certificates = server._certificates
        assert certificates is not None
        metrics = ServerMetrics(server.log, server._edge, lambda: True, lambda: certificates.expires)
        families = await metrics._collected()
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.name != "factstr_server"
    }
    assert len(names) > 20
    assert "factstr_tls_certificate_expires_timestamp_seconds" in names
    assert {name for name in names if f"`{name}" not in RUNBOOK} == set()
    assert "`factstr_server_info`" in RUNBOOK
