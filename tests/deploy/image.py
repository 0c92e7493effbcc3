"""What the Dockerfile says, and what the server makes of it together with a container's own variables."""

import re
from pathlib import Path
from typing import Any, Final

from factstr_server.cli.serving import settings_from
from factstr_server.settings import Settings

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def said(instruction: str) -> str:
    """What stands behind an instruction's last occurrence."""
    return str(re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)[-1])


def variables() -> dict[str, str]:
    """The server's variables that the image sets."""
    return dict(re.findall(r"\b(FACTSTR_[A-Z_]+)=(\S+)", DOCKERFILE))


def settings_of(container: dict[str, Any]) -> Settings:
    """How a container's server runs. What a Secret says is a store in PostgreSQL."""
    own = {entry["name"]: entry.get("value", "postgresql://db/facts") for entry in container.get("env", ())}
    return settings_from(container.get("args", ()), {**variables(), **own})


def port_of(address: str | None) -> int:
    assert address
    return int(address.rpartition(":")[2])
