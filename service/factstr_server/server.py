"""The whole: builds the log and its edge, starts them, and drains them.

States: starting -> serving -> draining -> stopped. The store's services answer health checks with SERVING only in
`serving`, and while the store answers; the empty service name says that the process lives, until it stops.
"""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from typing import Final

import grpc

# Registered with reflection by being imported: grpcurl needs them to show the details of an error.
from google.rpc import error_details_pb2  # noqa: F401
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2, server_service_pb2
from factstr_server.contract.limits import MAX_REQUEST_BYTES
from factstr_server.log.event_log import EventLog
from factstr_server.rpc.durable_stream_service import DurableStreamServicer
from factstr_server.rpc.edge import Edge
from factstr_server.rpc.event_store_service import EventStoreServicer
from factstr_server.rpc.server_service import ServerServicer
from factstr_server.settings import Settings
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Store, StoreError, StoreOptions

SERVICES: Final = tuple(
    service.full_name
    for file in (event_store_service_pb2, durable_stream_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

_SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How long a thread that comes back from SQLite waits for the event loop to let go of the interpreter. Python's 5 ms
would bound commits to 200 a second under load."""

_LAST_ANSWERS_SECONDS: Final = 1
"""For what is on its way out when the ports close; calls that outlived the drain are cancelled after it."""

GRPC_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    # Two servers on one port would share its calls, and a taken port would go unnoticed.
    ("grpc.so_reuseport", 0),
    # From a thousand calls that wait to be looked at gRPC turns some away with a bare CANCELLED. Ours is the bounded
    # queue, which says SERVER_BUSY.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What bounds the wait for a ping's answer, whatever the keepalive timeout says; a minute unless it is set.
    ("grpc.http2.ping_timeout_ms", 5_000),
)


class StartupError(Exception):
    """The server cannot start: one line for the person who started it."""


class Server:
    """A server on one store. Runs in one event loop."""

    def __init__(self, settings: Settings, store: Store | None = None) -> None:
        """Takes the store of the settings' URL, or one that the caller has made (tests wrap stores)."""
        self._settings = settings
        options = StoreOptions(settings.idempotency_retention, settings.unavailable_wait, settings.read_store)
        try:
            self.log = EventLog(
                store or store_by_url(settings.store, options),
                settings.heartbeat_interval,
                settings.unavailable_wait,
            )
        except StoreError as error:
            raise StartupError(str(error)) from None
        self._edge = Edge()
        self._health = health.aio.HealthServicer()
        self._ready = asyncio.Lock()
        self._serving = False
        self._store_answers = True
        self._told: set[asyncio.Task[None]] = set()
        self.log.on_available = self._available
        self._grpc: grpc.aio.Server | None = None
        self.addresses: tuple[str, ...] = ()
        """What the server listens on, with the ports that were asked for as 0 filled in."""

    async def start(self) -> None:
        """Opens the store, then the ports, then serves. Raises StartupError; nothing is left open then."""
        _tune_interpreter()
        try:
            await self.log.open()
            self._grpc = await self._listening()
            await self._grpc.start()
        except StoreError as error:
            await self.log.close()
            raise StartupError(str(error)) from None
        except BaseException:
            await self.log.close()
            raise
        self._serving = True
        await self._tell_health()

    async def stop(self) -> None:
        """Drains: refuses new calls, finishes those under way within the setting's bound, closes the store."""
        self._serving = False
        await self._tell_health()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain.total_seconds()):
                await self._edge.drain(self.log.end_streams)
        if self._grpc:
            await self._grpc.stop(_LAST_ANSWERS_SECONDS)
        await self.log.close()

    async def _listening(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=GRPC_OPTIONS)
        await self._tell_health()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers(
            (
                EventStoreServicer(self.log, self._settings).handlers(self._edge),
                DurableStreamServicer(self.log).handlers(self._edge),
                ServerServicer(self.log, self._settings).handlers(self._edge),
            )
        )
        if self._settings.reflection:
            reflection.enable_server_reflection(
                (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
            )
        self.addresses = tuple(_listen(server, address) for address in self._settings.listen)
        return server

    def _available(self, available: bool) -> None:  # noqa: FBT001
        self._store_answers = available
        telling = asyncio.create_task(self._tell_health())
        self._told.add(telling)
        telling.add_done_callback(self._told.discard)

    async def _tell_health(self) -> None:
        """What holds now; changes that come close together take turns, and the last one counts."""
        async with self._ready:
            ready = self._serving and self._store_answers
            status = (
                health_pb2.HealthCheckResponse.SERVING
                if ready
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            for service in SERVICES:
                await self._health.set(service, status)


@contextlib.asynccontextmanager
async def running(settings: Settings, store: Store | None = None) -> AsyncIterator[Server]:
    """A server for the length of a block."""
    server = Server(settings, store)
    await server.start()
    try:
        yield server
    finally:
        await asyncio.shield(server.stop())


def _tune_interpreter() -> None:
    """For the whole process. What start-up made lives as long as the server: the collector need not look at it again,
    and calls that come and go should not set it off every few hundred objects.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _listen(server: grpc.aio.Server, address: str) -> str:
    try:
        port = server.add_insecure_port(address)
    except RuntimeError:
        raise StartupError(
            f"cannot listen on {address}: the address is taken or not this machine's; choose another with --listen"
        ) from None
    return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
