"""The server, from its start to the end of its drain.

States: starting -> serving -> draining -> stopped. The store's services answer health checks with SERVING only in
`serving`, and while the store answers; the empty service name says that the process lives, until it stops.
"""

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final, cast

import grpc

# Registered with reflection by being imported: grpcurl needs them to show the details of an error.
from google.rpc import error_details_pb2  # noqa: F401
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from factstr_server.access.callers import Callers, TokensFileError
from factstr_server.contract.errors import Refusal
from factstr_server.log.event_log import EventLog
from factstr_server.log.tracing import Tracing
from factstr_server.rpc.admission import Admission, CallLimits
from factstr_server.rpc.durable_stream_service import DurableStreamServicer
from factstr_server.rpc.edge import Edge
from factstr_server.rpc.event_store_service import EventStoreServicer
from factstr_server.rpc.server_service import ServerServicer
from factstr_server.server.certificates import CertificateError, Certificates, TlsFiles
from factstr_server.server.health import SERVICES, Health
from factstr_server.server.listening import GRPC_OPTIONS, StartupError, listen
from factstr_server.server.open_services import OpenServices
from factstr_server.server.reloading import Reloading
from factstr_server.settings import Settings
from factstr_server.stores.opening import store_by_url
from factstr_server.stores.protocol import Store, StoreError, StoreOptions
from factstr_server.telemetry.endpoint import MetricsEndpoint
from factstr_server.telemetry.logs import CallLog
from factstr_server.telemetry.metrics import ServerMetrics, registry_of

_SWITCH_INTERVAL_SECONDS: Final = 0.0005
"""How long a thread that comes back from SQLite waits for the event loop to let go of the interpreter. Python's 5 ms
would bound commits to 200 a second under load."""

_LAST_PART: Final = 0.2
_LAST_SECONDS: Final = 3.0
"""Of the time that a drain may take, what is kept for its end: at most so much. In it, what is on its way out leaves,
calls that outlived the drain are cancelled, and leases are given back."""

_LAST_ANSWERS_SECONDS: Final = 1.0


class Server:
    """A server on one store. Runs in one event loop."""

    def __init__(
        self, settings: Settings, store: Store | None = None, tracing: Tracing | None = None
    ) -> None:
        """Takes the store of the settings' URL, or one that the caller has made (tests wrap stores)."""
        self._settings = settings
        self.reloading = Reloading()
        self._callers = self._known_callers()
        self._certificates = self._known_certificates()
        options = StoreOptions(settings.idempotency_retention, settings.unavailable_wait, settings.read_store)
        try:
            self.log = EventLog(
                store or store_by_url(settings.store, options),
                settings.heartbeat_interval,
                settings.unavailable_wait,
                tracing,
            )
        except StoreError as error:
            raise StartupError(str(error)) from None
        self._edge = Edge(Admission(_limits(settings), self._callers), tracing)
        if settings.log_calls != "none":
            self._edge.on_ended = CallLog(settings.log_calls)
        self._health = Health()
        self.log.on_available = self._health.available
        self._grpc: grpc.aio.Server | None = None
        self.addresses: tuple[str, ...] = ()
        """What the server listens on, with the ports that were asked for as 0 filled in."""
        self.health_address: str | None = None
        self.metrics_address: str | None = None
        self._metrics: MetricsEndpoint | None = None
        self._opened: OpenServices | None = None

    async def start(self) -> None:
        """Opens the store, then the ports, then serves. Raises StartupError; nothing is left open then."""
        _tune_interpreter()
        try:
            await self.log.open()
            await self._listen()
        except (StoreError, Refusal) as error:
            await self._close(0)
            raise StartupError(str(error)) from None
        except BaseException:
            await self._close(0)
            raise
        self.reloading.start()
        await self._health.serving(True)

    async def ended(self) -> None:
        """Waits until gRPC serves no more, which without `stop` is a defect of its own. Raises what it ended with."""
        assert self._grpc, "started"
        await self._grpc.wait_for_termination()

    async def stop(self, *, called: bool = False) -> None:
        """Drains: refuses new calls, finishes those under way within the setting's bound, closes the store. `called`:
        others may still call.
        """
        loop = asyncio.get_running_loop()
        allowed = self._settings.drain.total_seconds()
        end = loop.time() + allowed
        await self._health.serving(False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(allowed - min(_LAST_SECONDS, _LAST_PART * allowed)):
                await self._edge.drain(self.log.end_streams)
                if called:
                    await self._edge.quiet()
        await self._close(end - loop.time())

    async def _close(self, seconds: float) -> None:
        """Cancels what is still under way, and closes everything, within about so many seconds."""
        end = asyncio.get_running_loop().time() + seconds
        await self.reloading.stop()
        if self._grpc:
            await self._grpc.stop(max(0.0, min(_LAST_ANSWERS_SECONDS, seconds / 2)))
        await self.log.close(end)
        await self._health.stop_listening()
        if self._metrics:
            # Not in the loop, which answers scrapes under way.
            await asyncio.to_thread(self._metrics.close)

    async def _listen(self) -> None:
        settings = self._settings
        server = grpc.aio.server(options=GRPC_OPTIONS)
        await self._health.serving(False)
        self._opened = opened = OpenServices(server)
        self._health.add_to(opened)
        EventStoreServicer(self.log, settings).add_to(self._edge)
        DurableStreamServicer(self.log).add_to(self._edge)
        ServerServicer(self.log, settings).add_to(self._edge)
        server.add_generic_rpc_handlers((self._edge,))
        if settings.reflection:
            reflection.enable_server_reflection(
                (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME),
                cast("grpc.aio.Server", opened),
            )
        self._grpc = server
        self.addresses = tuple(
            listen(server, address, self._certificates.credentials() if self._certificates else None)
            for address in settings.listen
        )
        if settings.health_listen:
            self.health_address = await self._health.listen(settings.health_listen)
        if settings.metrics_listen:
            self._metrics = self._metrics_at(settings.metrics_listen)
            self.metrics_address = self._metrics.address
        await server.start()

    def _metrics_at(self, address: str) -> MetricsEndpoint:
        metrics = ServerMetrics(
            self.log,
            self._edge,
            lambda: self._health.store_answers,
            lambda: self._certificates.expires if self._certificates else None,
        )
        try:
            return MetricsEndpoint(address, registry_of(metrics))
        except OSError as error:
            raise StartupError(
                f"cannot listen on {address}: {error.strerror}; choose another with --metrics-listen"
            ) from None

    def _known_callers(self) -> Callers | None:
        path = self._settings.tokens_file
        if path is None:
            return None

        def text() -> str:
            try:
                return Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise TokensFileError(f"cannot be read: {reason}") from None

        try:
            callers = Callers(text())
        except TokensFileError as error:
            raise StartupError(f"the tokens file {path}: {error}") from None
        self.reloading.watch(f"the tokens file {path}", [path], lambda: callers.replace(text()))
        return callers

    def _known_certificates(self) -> Certificates | None:
        cert, key = self._settings.tls_cert, self._settings.tls_key
        if cert is None or key is None:
            return None
        files = TlsFiles(cert, key, self._settings.tls_client_ca)
        try:
            certificates = Certificates(files)
        except CertificateError as error:
            raise StartupError(str(error)) from None
        self.reloading.watch("TLS", files.paths, certificates.load)
        return certificates


@contextlib.asynccontextmanager
async def running(
    settings: Settings, store: Store | None = None, tracing: Tracing | None = None
) -> AsyncIterator[Server]:
    """A server for the length of a block."""
    server = Server(settings, store, tracing)
    await server.start()
    try:
        yield server
    finally:
        await asyncio.shield(server.stop())


def _limits(settings: Settings) -> CallLimits:
    """In the order of `rpc.call.Kind`."""
    return CallLimits(
        (settings.max_streams, settings.max_appends, settings.max_appends),
        (settings.max_streams_per_token, settings.max_appends_per_token, settings.max_appends_per_token),
    )


def _tune_interpreter() -> None:
    """For the whole process. What start-up made lives as long as the server: the collector need not look at it again,
    and calls that come and go should not set it off every few hundred objects.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
