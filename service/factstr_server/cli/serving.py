"""`factstr-server serve`: flags and variables to one `Settings`, and the process around the server."""

import asyncio
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

import uvloop

from factstr_server import __version__
from factstr_server.cli.flags import STORES, Failure, Flags
from factstr_server.settings import Settings
from factstr_server.stores.postgres.location import shown_url

_DEFAULTS: Final = Settings()

_USAGE: Final = """\
factstr-server [serve] [flags]
       factstr-server migrate --store URL
       factstr-server copy --from URL --to URL
       factstr-server backup --store URL --to FILE
       factstr-server verify --store URL
       factstr-server restore --from FILE (--store URL | --check)
       factstr-server COMMAND --help"""

_EXAMPLES: Final = f"""\
examples:
  factstr-server
      serves ./factstr.db on 127.0.0.1:50051
  factstr-server serve --store sqlite:////var/lib/factstr/facts.db --listen unix:/run/factstr.sock
      serves an absolute path on a Unix socket
  factstr-server --store 'postgresql://app@db1,db2/facts' --read-store 'postgresql://app@replica/facts'
      serves PostgreSQL: facts are written on whichever of two hosts is the primary, and read from a replica
  FACTSTR_STORE=memory: factstr-server
      every flag is also a variable: FACTSTR_ and the flag's name

{STORES}\
  memory:
      for trying things out: ends with the server
"""


def serve(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Returns after a drained stop. Raises Failure."""
    settings = settings_from(arguments, environment)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # gRPC's own remarks are not for people; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from factstr_server.server import StartupError  # noqa: PLC0415

    try:
        uvloop.run(_serve(settings))
    except StartupError as error:
        raise Failure(str(error)) from None


def settings_from(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Flags win over variables, variables over defaults. Ends the process with code 2 where they make no sense."""
    flags = _flags(environment)
    words = list(arguments)
    if words[:1] == ["serve"]:
        del words[0]
    if words and not words[0].startswith("-"):
        flags.refuse(
            f"there is no command {shown_url(words[0])!r}; one of serve, migrate, copy, backup, verify, restore"
        )
    given = flags.parse(words)
    listen = tuple(given.listen or _split(flags.variable("--listen")) or _DEFAULTS.listen)
    for address in listen:
        if not _is_address(address):
            flags.refuse(f"--listen {address} is no address; write host:port (port 0 to 65535) or unix:/path")
        if not _is_local(address) and not given.insecure:
            flags.refuse(
                f"--listen {address} reaches beyond this machine without TLS and tokens; listen on 127.0.0.1 or a "
                "unix: path, or say --insecure if the network around it is trusted"
            )
    for flag, url in (("--store", given.store), ("--read-store", given.read_store)):
        if given.read_store and not url.startswith("postgresql://"):
            flags.refuse(
                f"--read-store needs PostgreSQL, and {flag} is {shown_url(url)!r}; only a postgresql:// store has "
                "replicas, which are postgresql:// too"
            )
    return Settings(
        store=given.store,
        listen=listen,
        reflection=not given.no_reflection,
        insecure=given.insecure,
        idempotency_retention=given.idempotency_retention,
        heartbeat_interval=given.heartbeat_interval,
        unavailable_wait=given.unavailable_wait,
        read_store=given.read_store,
        drain=given.drain_seconds,
    )


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
    flags.switch("--insecure", "allow addresses beyond this machine although nothing is encrypted")
    flags.switch("--no-reflection", "do not describe the services to clients such as grpcurl")
    flags.seconds("--idempotency-retention", None, "forget idempotency keys after this long")
    flags.seconds("--heartbeat-interval", "10", "a stream sends a message at least this often")
    flags.seconds(
        "--unavailable-wait",
        "5",
        "how long appends and reads wait for a store that is being connected to anew",
    )
    flags.seconds("--drain-seconds", "20", "how long a stopping server waits for calls under way")
    return flags


async def _serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second signal ends at once."""
    from factstr_server.server import Server  # noqa: PLC0415

    server = Server(settings)
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await server.start()
    head = await server.log.head()
    print(
        f"factstr-server {__version__} serves {shown_url(settings.store)} (head {head}) on "
        f"{', '.join(server.addresses)}",
        file=sys.stderr,
        flush=True,
    )
    await stopping.wait()
    print("factstr-server: draining", file=sys.stderr, flush=True)
    await server.stop()


def _split(addresses: str) -> list[str]:
    return [address.strip() for address in addresses.split(",") if address.strip()]


def _is_address(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and int(port) < 2**16


def _is_local(address: str) -> bool:
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
