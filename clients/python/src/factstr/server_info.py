"""Owns the description of a server as a value."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from factstr.event import duration, moment
from factstr.v1 import server_service_pb2


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server is, and what it allows.

    `store_id` is stable across restarts; `history_id` changes when a failover or restore lost the log's tail.
    `limits` are the numbers of the contract and of this server by name, for example `limits["max_append_bytes"]`.
    `idempotency_retention` is how long an idempotency key is kept: None is for ever. `heartbeat_interval` is None
    when the server does not say. `capabilities` names the optional RPCs that it offers.
    """

    server_version: str
    store_kind: str
    store_id: str
    history_id: str
    head_sequence_number: int
    started_at: datetime
    limits: Mapping[str, int]
    idempotency_retention: timedelta | None
    heartbeat_interval: timedelta | None
    capabilities: tuple[str, ...]

    @classmethod
    def from_proto(cls, message: server_service_pb2.GetServerInfoResponse) -> "ServerInfo":
        limits = message.limits
        return cls(
            message.server_version,
            message.store_kind,
            message.store_id,
            message.history_id,
            message.head_sequence_number,
            moment(message.started_at),
            _numbers(limits),
            duration(limits.idempotency_retention) if limits.HasField("idempotency_retention") else None,
            duration(limits.heartbeat_interval) if limits.HasField("heartbeat_interval") else None,
            tuple(message.capabilities),
        )


def _numbers(limits: server_service_pb2.Limits) -> dict[str, int]:
    # By description, so that a limit added to the contract needs no line here.
    return {
        field.name: getattr(limits, field.name)
        for field in limits.DESCRIPTOR.fields
        if field.message_type is None
    }
