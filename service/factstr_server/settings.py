"""Everything that a person may set, as one frozen value. The command fills it from flags and FACTSTR_* variables."""

from dataclasses import dataclass
from datetime import timedelta

from factstr_server.contract.limits import DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_UNAVAILABLE_WAIT


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
    heartbeat_interval: timedelta = DEFAULT_HEARTBEAT_INTERVAL
    """A stream sends a message at least this often."""
    unavailable_wait: timedelta = DEFAULT_UNAVAILABLE_WAIT
    """How long appends and reads wait for a store that is being connected to anew."""
    read_store: str | None = None
    """The URL of a read replica of the store."""
    drain: timedelta = timedelta(seconds=20)
    """How long a stopping server waits for calls under way. A commit that has begun is waited for without a bound."""
