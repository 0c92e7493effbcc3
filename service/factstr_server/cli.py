"""`factstr-server`: flags and FACTSTR_* variables to one `Settings`, and the process around the server."""

import argparse
import asyncio
import ipaddress
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import uvloop

from factstr_server import __version__
from factstr_server.settings import Settings

_DEFAULTS: Final = Settings()

_TRUTHS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("", "0", "false", "no", "off"), False
)

_EXAMPLES: Final = """\
examples:
  factstr-server
      serves ./factstr.db on 127.0.0.1:50051
  factstr-server serve --store sqlite:////var/lib/factstr/facts.db --listen unix:/run/factstr.sock
      serves an absolute path on a Unix socket
  FACTSTR_STORE=memory: factstr-server
      every flag is also a variable: FACTSTR_ and the flag's name

Stores: memory: | sqlite:///relative.db | sqlite:////absolute.db
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 0 after a drained stop, 1 after a failure, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    settings = settings_from(arguments, os.environ)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # gRPC's own remarks are not for people; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from factstr_server.server import StartupError  # noqa: PLC0415

    try:
        uvloop.run(_serve(settings))
    except StartupError as error:
        print(f"factstr-server: {error}", file=sys.stderr)
        return 1
    return 0


def settings_from(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Flags win over variables, variables over defaults. Ends the process with code 2 where they make no sense."""
    parser = _parser(environment)
    words = list(arguments)
    if words[:1] == ["serve"]:
        del words[0]
    given = parser.parse_args(words)
    listen = tuple(given.listen or _split(environment.get("FACTSTR_LISTEN")) or _DEFAULTS.listen)
    for address in listen:
        if not _is_address(address):
            parser.error(f"--listen {address} is no address; write host:port (port 0 to 65535) or unix:/path")
        if not _is_local(address) and not given.insecure:
            parser.error(
                f"--listen {address} reaches beyond this machine without TLS and tokens; listen on 127.0.0.1 or a "
                "unix: path, or say --insecure if the network around it is trusted"
            )
    return Settings(
        store=given.store,
        listen=listen,
        reflection=not given.no_reflection,
        insecure=given.insecure,
        idempotency_retention=given.idempotency_retention,
        heartbeat_interval=given.heartbeat_interval,
        drain=given.drain_seconds,
    )


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="factstr-server",
        usage="factstr-server [serve] [flags]",
        description="Serves one FACTSTR event store over gRPC.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def variable(flag: str) -> str:
        return environment.get(_variable_of(flag), "")

    def switch(flag: str, meaning: str) -> None:
        text = variable(flag).lower()
        if text not in _TRUTHS:
            parser.error(f"{_variable_of(flag)}={text}: write 1, true, yes or on, or 0, false, no or off")
        parser.add_argument(flag, action="store_true", default=_TRUTHS[text], help=meaning)

    def seconds(flag: str, default: str | None, meaning: str) -> None:
        meaning += f" (default {default or 'never'})"
        value = variable(flag) or default
        parser.add_argument(flag, metavar="SECONDS", type=_seconds, default=value, help=meaning)

    parser.add_argument("--version", action="version", version=f"factstr-server {__version__}")
    parser.add_argument(
        "--store",
        metavar="URL",
        default=variable("--store") or _DEFAULTS.store,
        help=f"where facts are kept (default {_DEFAULTS.store})",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDR",
        action="append",
        help=f"host:port or unix:/path; may be given several times (default {_DEFAULTS.listen[0]}; the variable takes "
        "several with commas)",
    )
    switch("--insecure", "allow addresses beyond this machine although nothing is encrypted")
    switch("--no-reflection", "do not describe the services to clients such as grpcurl")
    seconds("--idempotency-retention", None, "forget idempotency keys after this long")
    seconds("--heartbeat-interval", "10", "a stream sends a message at least this often")
    seconds("--drain-seconds", "20", "how long a stopping server waits for calls under way")
    return parser


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
        f"factstr-server {__version__} serves {settings.store} (head {head}) on {', '.join(server.addresses)}",
        file=sys.stderr,
        flush=True,
    )
    await stopping.wait()
    print("factstr-server: draining", file=sys.stderr, flush=True)
    await server.stop()


def _seconds(text: str) -> timedelta:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return timedelta(seconds=seconds)


def _split(addresses: str | None) -> list[str]:
    return [address.strip() for address in (addresses or "").split(",") if address.strip()]


def _variable_of(flag: str) -> str:
    return "FACTSTR_" + flag.strip("-").replace("-", "_").upper()


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
