"""ServerService: what the server is and allows, and positions in time."""

import time
from typing import Final

from factstr.v1 import server_service_pb2 as pb
from factstr_server import __version__
from factstr_server.contract import limits
from factstr_server.contract.validation import invalid_argument
from factstr_server.log import committer
from factstr_server.log.event_log import EventLog
from factstr_server.rpc.edge import MAX_LARGE_REQUEST_BYTES, Call, Edge
from factstr_server.rpc.translation import duration, microseconds_of, timestamp
from factstr_server.settings import Settings

CAPABILITIES: Final = (
    "AppendStream",
    "StreamAll",
    "StreamTo",
    "StreamAllDurable",
    "StreamToDurable",
    "AcknowledgeDurable",
    "ListDurableStreams",
    "GetDurableStream",
    "ResetDurableStream",
    "DeleteDurableStream",
    "AwaitDurableStream",
)
"""The RPCs that this server implements and that some server of this contract may not."""


class ServerServicer:
    """Answers from one log and its settings."""

    def __init__(self, log: EventLog, settings: Settings) -> None:
        self._log = log
        self._limits = server_limits(settings)
        self._started_at = time.time_ns() // 1000

    def add_to(self, edge: Edge) -> None:
        edge.add(
            pb.DESCRIPTOR.services_by_name["ServerService"],
            unary={
                "GetServerInfo": self.get_server_info,
                "GetSequenceNumberAt": self.get_sequence_number_at,
            },
        )

    async def get_server_info(
        self, _request: pb.GetServerInfoRequest, _call: Call
    ) -> pb.GetServerInfoResponse:
        info = self._log.info
        return pb.GetServerInfoResponse(
            server_version=__version__,
            store_kind=info.kind,
            store_id=info.store_id,
            history_id=info.history_id,
            head_sequence_number=await self._log.head(),
            limits=self._limits,
            started_at=timestamp(self._started_at),
            capabilities=CAPABILITIES,
        )

    async def get_sequence_number_at(
        self, request: pb.GetSequenceNumberAtRequest, _call: Call
    ) -> pb.GetSequenceNumberAtResponse:
        if not request.HasField("occurred_at"):
            raise invalid_argument("occurred_at", "is not set; give the moment to look at")
        moment = microseconds_of(request.occurred_at, "occurred_at")
        return pb.GetSequenceNumberAtResponse(sequence_number=await self._log.sequence_number_at(moment))


def server_limits(settings: Settings) -> pb.Limits:
    """Every limit by name."""
    message = pb.Limits(
        max_events_per_append=limits.MAX_EVENTS_PER_APPEND,
        max_append_bytes=limits.MAX_APPEND_BYTES,
        max_query_bytes=limits.MAX_QUERY_BYTES,
        max_query_alternatives=limits.MAX_QUERY_ALTERNATIVES,
        max_predicate_nodes=limits.MAX_PREDICATE_NODES,
        max_event_type_characters=limits.MAX_EVENT_TYPE_CHARACTERS,
        max_idempotency_key_characters=limits.MAX_IDEMPOTENCY_KEY_CHARACTERS,
        max_durable_stream_characters=limits.MAX_DURABLE_STREAM_CHARACTERS,
        max_json_nesting=limits.MAX_JSON_NESTING,
        max_number_digits=limits.MAX_NUMBER_DIGITS,
        max_number_exponent=limits.MAX_NUMBER_EXPONENT,
        max_metadata_entries=limits.MAX_METADATA_ENTRIES,
        max_metadata_key_characters=limits.MAX_METADATA_KEY_CHARACTERS,
        max_metadata_value_bytes=limits.MAX_METADATA_VALUE_BYTES,
        max_request_bytes=limits.MAX_REQUEST_BYTES,
        max_response_bytes=limits.MAX_RESPONSE_BYTES,
        max_queued_append_bytes=committer.MAX_QUEUED_BYTES,
        max_group_appends=committer.MAX_GROUP_APPENDS,
        max_group_bytes=committer.MAX_GROUP_BYTES,
        default_unacknowledged_batches=limits.DEFAULT_UNACKNOWLEDGED_BATCHES,
        max_unacknowledged_bytes=limits.MAX_UNACKNOWLEDGED_BYTES,
        max_durable_stream_page_size=limits.MAX_DURABLE_STREAM_PAGE_SIZE,
        max_large_request_bytes=MAX_LARGE_REQUEST_BYTES,
        max_header_bytes=limits.MAX_HEADER_BYTES,
        max_connections=limits.MAX_CONNECTIONS,
        max_calls_per_connection=limits.MAX_CALLS_PER_CONNECTION,
        min_ping_interval=duration(limits.MIN_PING_INTERVAL),
        max_concurrent_streams=settings.max_streams,
        max_concurrent_appends=settings.max_appends,
        heartbeat_interval=duration(settings.heartbeat_interval),
    )
    if settings.tokens_file is not None:
        message.max_concurrent_streams_per_token = settings.max_streams_per_token
        message.max_concurrent_appends_per_token = settings.max_appends_per_token
    if settings.idempotency_retention is not None:
        message.idempotency_retention.CopyFrom(duration(settings.idempotency_retention))
    return message
