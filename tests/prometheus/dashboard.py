"""The Grafana dashboard as tests read it: its expressions, and the metrics that expressions name."""

import json
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
DASHBOARD: Final = ROOT / "deploy" / "grafana" / "factstr.json"
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yaml"

_WORDS: Final = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset"}


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return read


def expressions() -> dict[str, str]:
    """By panel and place in it, as they stand there."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard()["panels"]
        for target in panel.get("targets", ())
    }


def filled_in(expression: str) -> str:
    """As Grafana would send it, for every instance of the job that `programs.prometheus` gives."""
    return expression.replace("$__rate_interval", "1m").replace("$job", "factstr").replace("$instance", ".+")


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in PromQL."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    names = re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*(?!\s*\(|[A-Za-z0-9_:])", bare)
    return set(names) - _WORDS
