"""Everything that a person may set, as one frozen value. The command fills it from flags and FACTSTR_* variables."""

from dataclasses import dataclass
from datetime import timedelta

from factstr_server.contract.limits import DEFAULT_HEARTBEAT_INTERVAL, DEFAULT_UNAVAILABLE_WAIT


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server runs."""

    store: str = "sqlite:///factstr.db"
    listen: tuple[str, ...] = ("127.0.0.1:50051",)
    tls_cert: str | None = None
    """Path of the certificate, with its chain (PEM). TCP addresses take TLS then; Unix sockets never do."""
    tls_key: str | None = None
    tls_client_ca: str | None = None
    """Path of the authorities (PEM) of which one must have signed a client's certificate."""
    tokens_file: str | None = None
    """Path of the file that names who may call (`access.callers`); without it, anybody may."""
    reflection: bool = True
    insecure: bool = False
    """Allows addresses beyond loopback although nothing is encrypted or nobody is asked who they are."""
    health_listen: str | None = None
    """Where the health service alone answers in plaintext, for probes."""
    metrics_listen: str | None = None
    """Where Prometheus fetches metrics over HTTP."""
    log_format: str = "text"
    """Or json."""
    log_calls: str = "failed"
    """Which calls leave a line in the log: none, failed, or all."""
    tracing: bool = False
    """Spans go to an OpenTelemetry collector, as the OTEL_* variables say."""
    max_streams: int = 4_096
    """Streams and other lasting calls under way at once."""
    max_streams_per_token: int = 1_024
    max_appends: int = 4_096
    """Unary appends under way at once, and as many other unary calls."""
    max_appends_per_token: int = 1_024
    idempotency_retention: timedelta | None = None
    """How long idempotency keys are kept; None = for ever."""
    heartbeat_interval: timedelta = DEFAULT_HEARTBEAT_INTERVAL
    """A stream sends a message at least this often."""
    unavailable_wait: timedelta = DEFAULT_UNAVAILABLE_WAIT
    """How long appends and reads wait for a store that is being connected to anew."""
    read_store: str | None = None
    """The URL of a read replica of the store."""
    drain: timedelta = timedelta(seconds=20)
    """How long a stopping server takes at most. A commit that has begun is waited for without a bound."""
    stop_at_eof: bool = False
    """The server drains when its standard input ends: with the process that has started it, however that one ends."""
