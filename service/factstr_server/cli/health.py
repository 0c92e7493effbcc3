"""`factstr-server health`: asks a server on this machine how it is, for probes that run a command.

A probe runs every few seconds and has little time, so nothing is loaded here that the question does not need.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

from factstr_server.cli.flags import Failure, Flags

_EXAMPLES: Final = """\
examples:
  factstr-server health
      whether the server of this container lives
  factstr-server health --target unix:/run/factstr/factstr.sock --service factstr.v1.EventStoreService
      whether it can take calls: its store answers, and it is not stopping

The exit code is 0 for SERVING, else 1. Nothing is encrypted, so with TLS the target is what --health-listen names.
"""

_DEFAULT_TARGET: Final = "127.0.0.1:50051"

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "*": "127.0.0.1"}  # noqa: S104
"""Where a server answers on this machine that listens on every address."""


def health(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Returns where the answer is SERVING. Raises Failure."""
    # The server's variables say where it is. Its flags' names mean something else here, or to the `factstr` command.
    flags = Flags(
        "factstr-server health",
        {},
        usage="factstr-server health [--target ADDR] [--service NAME] [--timeout SECONDS]",
        description="Asks a server's health service, over plain gRPC.",
        examples=_EXAMPLES,
    )
    flags.text(
        "--target",
        "ADDR",
        "host:port or unix:/path (default: the first address in FACTSTR_HEALTH_LISTEN, else in FACTSTR_LISTEN, else "
        f"{_DEFAULT_TARGET})",
        default=served_at(environment),
    )
    flags.text(
        "--service",
        "NAME",
        "what to ask about: a service's full name, or nothing for the process alone (default)",
        default="",
    )
    flags.seconds("--timeout", "3", "how long to wait for the answer")
    given = flags.parse(arguments)
    answer = _asked(given.target, given.service, given.timeout.total_seconds())
    line = f"{given.service or 'the server'} at {given.target} is {answer}"
    if answer != "SERVING":
        raise Failure(line)
    print(line)


def served_at(environment: Mapping[str, str]) -> str:
    """The first address that a server with these variables listens on, as it is reached from this machine."""
    listed = environment.get("FACTSTR_HEALTH_LISTEN") or environment.get("FACTSTR_LISTEN") or _DEFAULT_TARGET
    first = listed.split(",")[0].strip()
    host, colon, port = first.rpartition(":")
    return _EVERYWHERE.get(host, host) + colon + port


def _asked(target: str, service: str, seconds: float) -> str:
    # gRPC's own remarks are not for people; it reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    # A proxy that the environment names is not for this machine.
    with grpc.insecure_channel(target, (("grpc.enable_http_proxy", 0),)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=seconds)
        except grpc.RpcError as error:
            raise Failure(_no_answer(target, service, seconds, error)) from None
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def _no_answer(target: str, service: str, seconds: float, error: Any) -> str:
    code = error.code().name
    if code == "NOT_FOUND":
        return f"the server at {target} has no service {service!r}; one is factstr.v1.EventStoreService"
    if code == "DEADLINE_EXCEEDED":
        return f"no answer from {target} within {seconds:g} s"
    if code == "UNAVAILABLE":
        return f"no server answers plain gRPC at {target}; --target takes the address of --health-listen or --listen"
    return f"{target} answers {code}: {error.details()}"
