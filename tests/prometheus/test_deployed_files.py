"""The dashboard and the alerts in deploy/: they are well formed, and name nothing that the server does not tell."""

import json
import re
import subprocess
from typing import Any

import pytest
import yaml

from factstr_server.contract.errors import Reason
from factstr_server.log.committer import MAX_QUEUED_BYTES
from tests.prometheus.dashboard import ALERTS, ROOT, dashboard, expressions, metrics_in
from tests.prometheus.programs import promtool
from tests.prometheus.scraping import samples, serving


def alerts() -> list[dict[str, Any]]:
    [group] = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


async def told() -> set[str]:
    """The names of all samples that a server gives once a durable stream is there and a call has ended, what Prometheus
    adds, and what there is with TLS alone (tests/operations/test_runbook.py).
    """
    async with serving() as (_, remote, address):
        async with remote.stream_all_durable("orders") as stream:
            await stream.started()
        await remote.head()
        only_with_tls = "factstr_tls_certificate_expires_timestamp_seconds"
        return {sample.name for sample in await samples(address)} | {"up", only_with_tls}


async def test_the_dashboard_shows_only_metrics_that_there_are() -> None:
    named = {metric for expression in expressions().values() for metric in metrics_in(expression)}
    # What variables are made of.
    named |= set(re.findall(r"label_values\((\w+)", json.dumps(dashboard())))
    assert named - await told() == set()


async def test_alerts_watch_only_metrics_that_there_are() -> None:
    assert {metric for alert in alerts() for metric in metrics_in(alert["expr"])} - await told() == set()


def test_the_alerts_become_a_rule_of_the_operator_as_the_documentation_says() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^    (\(printf .*?\)) \| kubectl ", text, re.MULTILINE | re.DOTALL)
    made = subprocess.run(["sh", "-ec", command], cwd=ROOT, capture_output=True, text=True, check=True)
    rule = yaml.safe_load(made.stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERTS.read_text(encoding="utf-8"))


def test_metrics_are_found_in_expressions() -> None:
    expression = (
        'max by (job, le) (rate(a_total{x="up (b)"}[5m])) / on (job) (b:c > bool 0.5) unless absent(d)'
    )
    assert metrics_in(expression) == {"a_total", "b:c", "d"}


def test_the_dashboard_asks_the_data_source_that_its_reader_has_chosen() -> None:
    panels = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels:
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (
            len(panel["targets"]) + 1
        )
    names = [variable["name"] for variable in dashboard()["templating"]["list"]]
    assert names == ["datasource", "job", "instance"]


def test_the_panels_of_the_dashboard_lie_beside_each_other_and_not_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_alert_says_what_it_means_and_where_to_read_on() -> None:
    for alert in alerts():
        annotations = alert["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook"}, alert["alert"]
        assert annotations["runbook"].startswith("docs/operations.md#"), alert["alert"]
        assert alert["labels"]["severity"] in {"critical", "warning"}, alert["alert"]


def test_alerts_name_reasons_that_there_are() -> None:
    named = re.findall(r'reason=~?"([A-Z_|]+)"', " ".join(alert["expr"] for alert in alerts()))
    assert named
    assert {reason for each in named for reason in each.split("|")} <= set(Reason)


def test_the_alert_about_the_queue_knows_its_bound() -> None:
    [queue] = [alert for alert in alerts() if alert["alert"] == "FactstrQueueNearlyFull"]
    assert queue["expr"].endswith(f"* {MAX_QUEUED_BYTES}")


@pytest.mark.prometheus
def test_promtool_finds_the_alerts_well_formed() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", ALERTS)
    assert checked.returncode == 0, checked.stderr
    assert f"SUCCESS: {len(alerts())} rules found" in checked.stdout


@pytest.mark.prometheus
def test_alerts_come_when_they_should_and_only_then() -> None:
    tried = promtool("test", "rules", ROOT / "tests" / "prometheus" / "alerts.test.yaml")
    assert tried.returncode == 0, tried.stdout + tried.stderr
