"""Health and reflection, which ask nobody who they are: what they are sent is small, and does not take long to come."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc

from factstr_server.access.awaited_requests import MAX_SLOW, AwaitedRequests, request_came

_MAX_REQUEST_BYTES: Final = 4 * 1024


class OpenServices:
    """Takes the place of a `grpc.aio.Server` where generated code adds a service to it."""

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.awaited = AwaitedRequests()
        """Of all of their callers."""

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_Bounded(handler, self.awaited) for handler in handlers))

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """The same methods, for a shorter way to them that is not bounded."""


class _Bounded(grpc.GenericRpcHandler):
    def __init__(self, inner: grpc.GenericRpcHandler, awaited: AwaitedRequests) -> None:
        self._inner = inner
        self._awaited = awaited

    def service(self, call: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler: Any = self._inner.service(call)
        if handler is None:
            return None
        if not handler.request_streaming:
            if self._awaited.too_slow:
                return grpc.stream_stream_rpc_method_handler(_refuse)
            self._awaited.begin()
        return handler._replace(  # type: ignore[no-any-return]
            request_deserializer=_bounded(handler.request_deserializer)
        )


async def _refuse(_requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    await context.abort(
        grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_SLOW} other requests take too long to come; try again"
    )


def _bounded(parse: Callable[[bytes], object]) -> Callable[[bytes], object]:
    def parse_small(request: bytes) -> object:
        request_came()
        if len(request) > _MAX_REQUEST_BYTES:
            raise ValueError("too large")
        return parse(request)

    return parse_small
