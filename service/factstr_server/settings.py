"""Everything that a person may set, as one frozen value. The command fills it from flags and FACTSTR_* variables."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What is too large within it gets our error; beyond it gRPC's own."""

MAX_RESPONSE_BYTES: Final = 256 * 1024
"""Response messages gather up to this; a single larger record goes alone."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server runs."""

    store: str = "sqlite:///factstr.db"
    listen: tuple[str, ...] = ("127.0.0.1:50051",)
    reflection: bool = True
    insecure: bool = False
    """Allows addresses beyond loopback although nothing is encrypted and nobody is asked who they are."""
    idempotency_retention: timedelta | None = None
    """How long idempotency keys are kept; None = for ever."""
    heartbeat_interval: timedelta = timedelta(seconds=10)
    """A stream sends a message at least this often."""
    drain: timedelta = timedelta(seconds=20)
    """How long a stopping server waits for calls under way."""
    log_format: str = "text"
