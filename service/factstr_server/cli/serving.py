"""`factstr-server serve`: flags and variables to one `Settings`, and the process around the server."""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import uvloop

from factstr_server import __version__
from factstr_server.cli import COMMANDS
from factstr_server.cli.addresses import is_address, is_local, is_unix
from factstr_server.cli.flags import STORES, Failure, Flags
from factstr_server.settings import Settings
from factstr_server.stores.postgres.location import shown_url

if TYPE_CHECKING:
    from factstr_server.telemetry.tracing import OpenTelemetryTracing

_DEFAULTS: Final = Settings()

_FILE_DESCRIPTORS: Final = 65_536

_LAST_LINES_SECONDS: Final = 1.0
_LAST_SPANS_SECONDS: Final = 0.2
_MOST_SPANS_SECONDS: Final = 5.0
"""How long a process that ends waits for whoever takes its log, or its spans."""

_log = logging.getLogger("factstr_server.plain")

_USAGE: Final = """\
factstr-server [serve] [flags]
       factstr-server migrate --store URL
       factstr-server copy --from URL --to URL
       factstr-server backup --store URL --to FILE
       factstr-server verify --store URL
       factstr-server restore --from FILE (--store URL | --check)
       factstr-server token new --name NAME --role ROLE
       factstr-server health [--target ADDR]
       factstr-server COMMAND --help"""

_EXAMPLES: Final = f"""\
examples:
  factstr-server
      serves ./factstr.db on 127.0.0.1:50051
  factstr-server serve --store sqlite:////var/lib/factstr/facts.db --listen unix:/run/factstr.sock
      serves an absolute path on a Unix socket
  factstr-server --store 'postgresql://app@db1,db2/facts' --read-store 'postgresql://app@replica/facts'
      serves PostgreSQL: facts are written on whichever of two hosts is the primary, and read from a replica
  factstr-server --listen 0.0.0.0:50051 --tls-cert tls.crt --tls-key tls.key --tokens-file tokens
      serves other machines, over TLS, and only those who bear a token
  FACTSTR_STORE=memory: factstr-server
      every flag is also a variable: FACTSTR_ and the flag's name

{STORES}\
  memory:
      for trying things out: ends with the server
"""


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Returns after a drained stop. Raises Failure."""
    settings = settings_from(arguments, environment)
    # gRPC's own remarks are not for people; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from factstr_server.server import StartupError  # noqa: PLC0415
    from factstr_server.telemetry.log_thread import LogThread  # noqa: PLC0415
    from factstr_server.telemetry.logs import configure  # noqa: PLC0415

    # Until there is a server there is nothing to read again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _hold_standard_descriptors()
    _allow_connections()
    log = LogThread(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    configure(settings.log_format, log)
    try:
        uvloop.run(_serve(settings))
    except StartupError as error:
        raise Failure(str(error)) from None
    finally:
        log.drain(_LAST_LINES_SECONDS)


def _hold_standard_descriptors() -> None:
    """Where one was closed, the next file that is opened would have its number, and be written to as if it were it."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _allow_connections() -> None:
    """Each takes a file descriptor, of which a shell often gives 1,024 where the system allows many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILE_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _FILE_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settings_from(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Flags win over variables, variables over defaults. Ends the process with code 2 where they make no sense."""
    flags = _flags(environment)
    words = list(arguments)
    if words[:1] == ["serve"]:
        del words[0]
    if words and not words[0].startswith("-"):
        flags.refuse(f"there is no command {shown_url(words[0])!r}; one of {', '.join(COMMANDS)}")
    given = flags.parse(words)
    listen = tuple(given.listen or _split(flags.variable("--listen")) or _DEFAULTS.listen)
    settings = Settings(
        store=given.store,
        listen=listen,
        tls_cert=given.tls_cert,
        tls_key=given.tls_key,
        tls_client_ca=given.tls_client_ca,
        tokens_file=given.tokens_file,
        reflection=not given.no_reflection,
        insecure=given.insecure,
        health_listen=given.health_listen,
        metrics_listen=given.metrics_listen,
        log_format=given.log_format,
        log_calls=given.log_calls,
        tracing=given.tracing,
        max_streams=given.max_streams,
        max_streams_per_token=given.max_streams_per_token,
        max_appends=given.max_appends,
        max_appends_per_token=given.max_appends_per_token,
        idempotency_retention=given.idempotency_retention,
        heartbeat_interval=given.heartbeat_interval,
        unavailable_wait=given.unavailable_wait,
        read_store=given.read_store,
        drain=given.drain_seconds,
        stop_at_eof=given.stop_at_eof,
    )
    if problem := _problem(settings):
        flags.refuse(problem)
    return settings


def _problem(settings: Settings) -> str | None:
    """What makes no sense about the whole, and what would."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        return "--tls-cert and --tls-key belong together; give both"
    if settings.tls_client_ca and not settings.tls_cert:
        return "--tls-client-ca asks clients for certificates, which takes TLS; give --tls-cert and --tls-key too"
    for address in settings.listen:
        if not is_address(address):
            return f"--listen {address} is no address; write host:port (port 0 to 65535) or unix:/path"
        if not (is_local(address) or settings.insecure or (settings.tls_cert and settings.tokens_file)):
            return (
                f"--listen {address} reaches beyond this machine without TLS and tokens; give --tls-cert, --tls-key "
                "and --tokens-file, listen on 127.0.0.1 or a unix: path, or say --insecure if the network around it is "
                "trusted"
            )
    if settings.health_listen and not is_address(settings.health_listen):
        return f"--health-listen {settings.health_listen} is no address; write host:port or unix:/path"
    if settings.metrics_listen and (
        not is_address(settings.metrics_listen) or is_unix(settings.metrics_listen)
    ):
        return f"--metrics-listen {settings.metrics_listen} is no address; write host:port"
    for flag, url in (("--store", settings.store), ("--read-store", settings.read_store or "")):
        if settings.read_store and not url.startswith("postgresql://"):
            return (
                f"--read-store needs PostgreSQL, and {flag} is {shown_url(url)!r}; only a postgresql:// store has "
                "replicas, which are postgresql:// too"
            )
    return None


def _flags(environment: Mapping[str, str]) -> Flags:
    flags = Flags(
        "factstr-server",
        environment,
        usage=_USAGE,
        description="Serves one FACTSTR event store over gRPC.",
        examples=_EXAMPLES,
    )
    flags.version(f"factstr-server {__version__}")
    flags.text("--store", "URL", f"where facts are kept (default {_DEFAULTS.store})", default=_DEFAULTS.store)
    flags.text(
        "--read-store", "URL", "a replica of a PostgreSQL store, which queries and replays may read from"
    )
    flags.texts(
        "--listen",
        "ADDR",
        f"host:port or unix:/path; may be given several times (default {_DEFAULTS.listen[0]}; the variable takes "
        "several with commas)",
    )
    _declare_security(flags)
    _declare_observation(flags)
    _declare_limits(flags)
    flags.seconds("--idempotency-retention", None, "forget idempotency keys after this long")
    flags.seconds("--heartbeat-interval", "10", "a stream sends a message at least this often")
    flags.seconds(
        "--unavailable-wait",
        "5",
        "how long appends and reads wait for a store that is being connected to anew",
    )
    flags.seconds("--drain-seconds", "20", "how long a stopping server takes at most")
    flags.switch("--stop-at-eof", "stop when standard input ends, so with whoever started the server")
    return flags


def _declare_security(flags: Flags) -> None:
    flags.path("--tls-cert", "the server's certificate with its chain (PEM); read again when it changes")
    flags.path("--tls-key", "its key (PEM, without a password)")
    flags.path(
        "--tls-client-ca", "take only clients whose certificate one of these authorities has signed (PEM)"
    )
    flags.path(
        "--tokens-file",
        "take only callers that this file names (factstr-server token --help); read again when it changes",
    )
    flags.switch("--insecure", "allow addresses beyond this machine although TLS or tokens are missing")
    flags.switch("--no-reflection", "do not describe the services to clients such as grpcurl")


def _declare_observation(flags: Flags) -> None:
    flags.text("--health-listen", "ADDR", "answer health checks here as well, in plaintext, for probes")
    flags.text("--metrics-listen", "ADDR", "serve metrics for Prometheus here, at http://ADDR/metrics")
    flags.choice("--log-format", ("text", "json"), _DEFAULTS.log_format, "of the log, on stderr")
    flags.choice(
        "--log-calls", ("none", "failed", "all"), _DEFAULTS.log_calls, "which calls leave a line in the log"
    )
    flags.switch(
        "--tracing",
        "send spans to an OpenTelemetry collector, as OTEL_* variables say (factstr-server[tracing])",
    )


def _declare_limits(flags: Flags) -> None:
    flags.number(
        "--max-streams", _DEFAULTS.max_streams, "calls that last (streams, queries) under way at once"
    )
    flags.number("--max-streams-per-token", _DEFAULTS.max_streams_per_token, "the same, of one token")
    flags.number("--max-appends", _DEFAULTS.max_appends, "unary appends under way at once")
    flags.number("--max-appends-per-token", _DEFAULTS.max_appends_per_token, "the same, of one token")


async def _serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, or as set until the end of its input, then drains; a second signal ends at once.
    SIGHUP reads files again.
    """
    from factstr_server.server import Server  # noqa: PLC0415

    tracing = _tracing() if settings.tracing else None
    server = Server(settings, tracing=tracing)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, server.reloading.read_again)
    if settings.stop_at_eof:
        _at_eof(lambda: loop.call_soon_threadsafe(stopping.set))
    await server.start()
    if server.health_address:
        _log.info("factstr-server answers health checks at %s", server.health_address)
    if server.metrics_address:
        _log.info("factstr-server shows metrics at http://%s/metrics", server.metrics_address)
    _log.info(
        "factstr-server %s serves %s (head %d) on %s",
        __version__,
        shown_url(settings.store),
        await server.log.head(),
        ", ".join(server.addresses),
    )
    serving, told = asyncio.create_task(server.ended()), asyncio.create_task(stopping.wait())
    await asyncio.wait((serving, told), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        # Nobody could reach it any more; who has started it can start another one.
        await server.log.close()
        raise Failure("gRPC has ended serving; start the server again, and report its log")
    _log.info("factstr-server: draining, for at most %g s", settings.drain.total_seconds())
    end = loop.time() + settings.drain.total_seconds()
    await server.stop(called=True)
    if tracing:
        # A collector that does not answer must not keep the process: a thread that is left behind ends with it.
        closing = threading.Thread(target=tracing.close, name="last spans", daemon=True)
        closing.start()
        closing.join(max(_LAST_SPANS_SECONDS, min(_MOST_SPANS_SECONDS, end - loop.time())))
    _log.info("factstr-server: stopped")


def _at_eof(stop: Callable[[], object]) -> None:
    """Calls when standard input ends, from a thread: an event loop cannot watch one that is a file."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        stop()

    threading.Thread(target=read, name="standard input", daemon=True).start()


def _tracing() -> "OpenTelemetryTracing":
    try:
        from factstr_server.telemetry.tracing import OpenTelemetryTracing  # noqa: PLC0415
    except ImportError:
        raise Failure(
            "--tracing takes OpenTelemetry, which is not installed; install factstr-server[tracing], or leave it out"
        ) from None
    return OpenTelemetryTracing.exporting()


def _split(addresses: str) -> list[str]:
    return [address.strip() for address in addresses.split(",") if address.strip()]
