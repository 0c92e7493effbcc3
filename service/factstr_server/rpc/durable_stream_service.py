"""DurableStreamService: seeing, moving, deleting and awaiting durable streams."""

from base64 import b64decode, urlsafe_b64encode
from typing import Final

from factstr.v1 import durable_stream_service_pb2 as pb
from factstr_server.contract.limits import (
    DEFAULT_DURABLE_STREAM_PAGE_SIZE,
    MAX_DURABLE_STREAM_PAGE_SIZE,
    MAX_RESPONSE_BYTES,
)
from factstr_server.contract.validation import invalid_argument
from factstr_server.log.event_log import EventLog
from factstr_server.rpc.edge import Call, Edge
from factstr_server.rpc.stream_messages import durable_stream
from factstr_server.rpc.translation import check_durable_stream, seconds_of

_READ_AT_ONCE: Final = 100
_SERVICE: Final = pb.DESCRIPTOR.services_by_name["DurableStreamService"]


class DurableStreamServicer:
    """Answers from one log."""

    def __init__(self, log: EventLog) -> None:
        self._positions = log.positions

    def add_to(self, edge: Edge) -> None:
        edge.add(
            _SERVICE,
            unary={
                "ListDurableStreams": self.list_durable_streams,
                "GetDurableStream": self.get_durable_stream,
                "ResetDurableStream": self.reset_durable_stream,
                "DeleteDurableStream": self.delete_durable_stream,
                "AwaitDurableStream": self.await_durable_stream,
            },
            while_draining=_SERVICE.methods_by_name,
        )

    async def list_durable_streams(
        self, request: pb.ListDurableStreamsRequest, _call: Call
    ) -> pb.ListDurableStreamsResponse:
        if request.page_size > MAX_DURABLE_STREAM_PAGE_SIZE:
            raise invalid_argument(
                "page_size",
                f"is {request.page_size}; at most {MAX_DURABLE_STREAM_PAGE_SIZE}, 0 for the default",
            )
        after, wanted = _name_of(request.page_token), request.page_size or DEFAULT_DURABLE_STREAM_PAGE_SIZE
        response = pb.ListDurableStreamsResponse()
        size, more = 0, True
        # A query may take 256 KiB: a page ends where a message would become too large for its reader.
        while more and wanted and size < MAX_RESPONSE_BYTES:
            states, more = await self._positions.list_from(
                after, request.name_prefix, min(wanted, _READ_AT_ONCE)
            )
            for message in map(durable_stream, states):
                size += message.ByteSize()
                if response.durable_streams and size > MAX_RESPONSE_BYTES:
                    more = True
                    break
                response.durable_streams.append(message)
                after = message.durable_stream
                wanted -= 1
        response.next_page_token = _page_token(after) if more else ""
        return response

    async def get_durable_stream(
        self, request: pb.GetDurableStreamRequest, _call: Call
    ) -> pb.GetDurableStreamResponse:
        check_durable_stream(request.durable_stream)
        state = await self._positions.get(request.durable_stream)
        return pb.GetDurableStreamResponse(durable_stream=durable_stream(state))

    async def reset_durable_stream(
        self, request: pb.ResetDurableStreamRequest, _call: Call
    ) -> pb.ResetDurableStreamResponse:
        check_durable_stream(request.durable_stream)
        state = await self._positions.reset(request.durable_stream, request.cursor, force=request.force)
        return pb.ResetDurableStreamResponse(durable_stream=durable_stream(state))

    async def delete_durable_stream(
        self, request: pb.DeleteDurableStreamRequest, _call: Call
    ) -> pb.DeleteDurableStreamResponse:
        check_durable_stream(request.durable_stream)
        await self._positions.delete(request.durable_stream, force=request.force)
        return pb.DeleteDurableStreamResponse()

    async def await_durable_stream(
        self, request: pb.AwaitDurableStreamRequest, _call: Call
    ) -> pb.AwaitDurableStreamResponse:
        check_durable_stream(request.durable_stream)
        timeout = seconds_of(request.timeout, "timeout") if request.HasField("timeout") else None
        cursor, reached = await self._positions.await_cursor(
            request.durable_stream, request.sequence_number, timeout
        )
        return pb.AwaitDurableStreamResponse(cursor=cursor, reached=reached)


def _page_token(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode()


def _name_of(page_token: str) -> str:
    try:
        return b64decode(page_token.encode("ascii"), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid_argument(
            "page_token", "is no token of this server; send the next_page_token of the page before, or none"
        ) from None
