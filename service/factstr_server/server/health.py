"""What health checks are told: `""` = the process lives; the services' names = it serves, and its store answers.

With `--health-listen` the health service also stands alone on a port of its own, in plaintext and open to anybody: a
probe has no certificate and no token. It says nothing else.
"""

import asyncio
from typing import Final, cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2, server_service_pb2
from factstr_server.server.listening import GRPC_OPTIONS, listen
from factstr_server.server.open_services import OpenServices

SERVICES: Final = tuple(
    service.full_name
    for file in (event_store_service_pb2, durable_stream_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

_PROBE_OPTIONS: Final = (
    *(option for option in GRPC_OPTIONS if option[0] != "grpc.max_receive_message_length"),
    ("grpc.max_receive_message_length", 4 * 1024),
)


class Health:
    """Of one server. Used in one event loop."""

    def __init__(self) -> None:
        self._servicer = health.aio.HealthServicer()
        self._telling = asyncio.Lock()
        self._told: set[asyncio.Task[None]] = set()
        self._serving = False
        self._store_answers = True
        self._probes: grpc.aio.Server | None = None

    @property
    def store_answers(self) -> bool:
        return self._store_answers

    def add_to(self, server: grpc.aio.Server | OpenServices) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, cast("grpc.aio.Server", server))

    async def listen(self, address: str) -> str:
        """Answers at an address of its own; gives it as `listening.listen` does. Raises StartupError."""
        server = grpc.aio.server(options=_PROBE_OPTIONS)
        self.add_to(server)
        address = listen(server, address, None, "--health-listen")
        await server.start()
        self._probes = server
        return address

    async def stop_listening(self) -> None:
        if self._probes:
            await self._probes.stop(None)

    async def serving(self, serving: bool) -> None:  # noqa: FBT001
        self._serving = serving
        await self._tell()

    def available(self, available: bool) -> None:  # noqa: FBT001
        """Whether the store answers."""
        self._store_answers = available
        telling = asyncio.create_task(self._tell())
        self._told.add(telling)
        telling.add_done_callback(self._told.discard)

    async def _tell(self) -> None:
        """What holds now; changes that come close together take turns, and the last one counts."""
        async with self._telling:
            ready = self._serving and self._store_answers
            status = (
                health_pb2.HealthCheckResponse.SERVING
                if ready
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            for service in SERVICES:
                await self._servicer.set(service, status)
