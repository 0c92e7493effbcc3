"""What the server says about itself: offered calls, limits, health, reflection."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import factstr_server
from factstr.v1 import durable_stream_service_pb2, event_store_service_pb2, server_service_pb2
from factstr_server.server import running
from factstr_server.settings import Settings
from tests.conformance.driver import NewFact, Options
from tests.conformance.wire import Wire
from tests.service import raw

SERVICES: list[ServiceDescriptor] = [
    service
    for file in (event_store_service_pb2, durable_stream_service_pb2, server_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]
ALWAYS_OFFERED = {"Append", "AppendIf", "Query", "GetServerInfo", "GetSequenceNumberAt"}


async def about(server: Wire) -> server_service_pb2.GetServerInfoResponse:
    [response] = await raw.call(server, raw.INFO, b"")
    return server_service_pb2.GetServerInfoResponse.FromString(response)


async def test_server_info_names_version_store_head_and_start(server: Wire) -> None:
    info = await about(server)
    assert info.server_version == factstr_server.__version__
    assert info.store_kind == "memory"
    assert info.store_id
    assert info.history_id
    assert info.store_id != info.history_id
    assert info.head_sequence_number == 0
    assert abs(info.started_at.ToSeconds() - time.time()) < 3_600
    assert set(info.capabilities) == {method.name for method in METHODS} - ALWAYS_OFFERED
    await server.append([NewFact()] * 3)
    again = await about(server)
    assert again.head_sequence_number == 3
    assert (again.store_id, again.started_at) == (info.store_id, info.started_at)


async def test_stores_of_their_own_have_ids_of_their_own(server: Wire) -> None:
    async with Wire("memory:", Options()) as other:
        assert (await about(server)).store_id != (await about(other)).store_id


async def test_limits_are_those_of_the_contract(server: Wire) -> None:
    limits = (await about(server)).limits
    expected = {
        "max_events_per_append": 10_000,
        "max_append_bytes": 3_145_728,
        "max_query_bytes": 262_144,
        "max_query_alternatives": 1_000,
        "max_predicate_nodes": 1_000,
        "max_event_type_characters": 256,
        "max_idempotency_key_characters": 200,
        "max_durable_stream_characters": 200,
        "max_json_nesting": 64,
        "max_number_digits": 100,
        "max_number_exponent": 300,
        "max_metadata_entries": 64,
        "max_metadata_key_characters": 128,
        "max_metadata_value_bytes": 16_384,
        "max_request_bytes": 16_777_216,
        "max_response_bytes": 262_144,
        "max_queued_append_bytes": 67_108_864,
        "max_group_appends": 4_096,
        "max_group_bytes": 8_388_608,
        "default_unacknowledged_batches": 1_024,
        "max_unacknowledged_bytes": 8_388_608,
        "max_durable_stream_page_size": 1_000,
        "max_large_request_bytes": 134_217_728,
        "max_concurrent_streams": 4_096,
        "max_concurrent_appends": 4_096,
        "max_header_bytes": 16_384,
        "max_connections": 16_384,
        "max_calls_per_connection": 8_192,
    }
    assert {field.name: value for field, value in limits.ListFields() if isinstance(value, int)} == expected
    every = {field.name for field in limits.DESCRIPTOR.fields}
    assert every == expected.keys() | {
        "idempotency_retention",
        "heartbeat_interval",
        "min_ping_interval",
        # Only where callers bear tokens.
        "max_concurrent_streams_per_token",
        "max_concurrent_appends_per_token",
    }


async def test_limits_show_what_was_set(server: Wire) -> None:
    limits = (await about(server)).limits
    assert not limits.HasField("idempotency_retention")
    assert limits.heartbeat_interval == Duration(seconds=10)
    settings = Settings(
        store="memory:",
        listen=("127.0.0.1:0",),
        idempotency_retention=timedelta(days=2, milliseconds=5),
        heartbeat_interval=timedelta(seconds=3),
    )
    async with running(settings) as other, grpc.aio.insecure_channel(other.addresses[0]) as channel:
        answer = await raw.unary(channel, raw.INFO)(b"")
        limits = server_service_pb2.GetServerInfoResponse.FromString(answer).limits
    assert limits.idempotency_retention == Duration(seconds=2 * 86_400, nanos=5_000_000)
    assert limits.heartbeat_interval == Duration(seconds=3)


async def test_a_position_is_asked_for_with_a_valid_timestamp(server: Wire) -> None:
    appended = await server.append([NewFact()])
    seconds, micros = divmod(appended.occurred_at, 1_000_000)
    for nanos, expected in ((micros * 1_000, 1), (micros * 1_000 + 999, 1), (micros * 1_000 - 1, 0)):
        if nanos < 0:
            continue
        request = server_service_pb2.GetSequenceNumberAtRequest(
            occurred_at=Timestamp(seconds=seconds, nanos=nanos)
        )
        [answer] = await raw.call(server, raw.SEQUENCE_NUMBER_AT, request)
        response = server_service_pb2.GetSequenceNumberAtResponse.FromString(answer)
        assert response.sequence_number == expected
    for seconds, nanos in ((0, -1), (0, 10**9), (253_402_300_800, 0), (-62_135_596_801, 0), (2**63 - 1, 0)):
        request = server_service_pb2.GetSequenceNumberAtRequest(
            occurred_at=Timestamp(seconds=seconds, nanos=nanos)
        )
        failed = await raw.failure(server, raw.SEQUENCE_NUMBER_AT, request)
        assert (failed.reason, failed.fields) == ("INVALID_ARGUMENT", ["occurred_at"])


async def test_health_is_serving_for_the_process_and_each_service(server: Wire) -> None:
    health: Any = health_pb2_grpc.HealthStub(server.channel)
    for name in ("", *(service.full_name for service in SERVICES)):
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert response.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="factstr.v1.Unknown"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def described(target: str) -> tuple[list[str], list[str]]:
    """Which services a client finds by reflection, and which of the types that errors carry."""
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = list(database.get_services())
        pool = DescriptorPool(database)
        found = [
            pool.FindMessageTypeByName(name).full_name
            for name in (raw.ERROR_INFO, raw.BAD_REQUEST, raw.RETRY_INFO, raw.CONFLICT)
        ]
        pool.FindServiceByName(SERVICES[0].full_name)
        return services, found


async def test_reflection_describes_the_services_and_the_details_of_errors(server: Wire) -> None:
    services, details = await asyncio.to_thread(described, server.server.addresses[0])
    assert {service.full_name for service in SERVICES} <= set(services)
    assert "grpc.health.v1.Health" in services
    assert details == [raw.ERROR_INFO, raw.BAD_REQUEST, raw.RETRY_INFO, raw.CONFLICT]


async def test_reflection_can_be_turned_off() -> None:
    settings = Settings(store="memory:", listen=("127.0.0.1:0",), reflection=False)
    async with running(settings) as server:
        with pytest.raises(grpc.RpcError):
            await asyncio.to_thread(described, server.addresses[0])


async def test_a_server_listens_on_every_address_that_it_was_given(tmp_path: object) -> None:
    settings = Settings(
        store="memory:", listen=("127.0.0.1:0", f"unix:{tmp_path}/factstr.sock", "localhost:0")
    )
    async with running(settings) as server:
        assert len(server.addresses) == 3
        for address in server.addresses:
            async with grpc.aio.insecure_channel(address) as channel:
                assert await raw.unary(channel, raw.INFO)(b"")
