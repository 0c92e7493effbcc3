"""What a server says of its health, which follows its store's."""

from typing import Any, Final

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from factstr_server.server import SERVICES
from tests.conformance.streams import eventually
from tests.sharing.servers import Remote

SERVES: Final = ["SERVING"] * (1 + len(SERVICES))


async def health(store: Remote) -> list[str]:
    """What the process and then its services say."""
    stub: Any = HealthStub(store.channel)
    return [
        HealthCheckResponse.ServingStatus.Name((await stub.Check(HealthCheckRequest(service=name))).status)
        for name in ("", *SERVICES)
    ]


async def is_away(store: Remote) -> None:
    """Returns when the server has noticed that its store does not answer."""
    await eventually(
        lambda: health(store), lambda seen: seen == ["SERVING"] + ["NOT_SERVING"] * len(SERVICES)
    )


async def is_back(store: Remote) -> None:
    """Returns when the server has noticed that its store answers."""
    await eventually(lambda: health(store), lambda seen: seen == SERVES)
