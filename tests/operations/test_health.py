"""What probes are told, with and without a port of their own."""

import asyncio
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2

from factstr_server.access.roles import Role
from factstr_server.server import SERVICES, running
from tests.security.calls import streaming, unary
from tests.security.conftest import Tls, Tokens, channel_to, settings
from tests.waiting import until

CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status(channel: grpc.aio.Channel, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    response = await unary(channel, CHECK)(request.SerializeToString(), timeout=20)
    return health_pb2.HealthCheckResponse.FromString(response).status


async def test_a_port_for_probes_answers_in_plaintext_and_without_a_token_beside_tls(
    tls: Tls, tokens: Tokens
) -> None:
    tokens.add_certificate("a.example", "a", Role.READER)
    wanted = settings(
        tls_cert=str(tls.cert),
        tls_key=str(tls.key),
        tokens_file=str(tokens.path),
        health_listen="127.0.0.1:0",
    )
    async with running(wanted) as server:
        assert server.health_address is not None
        async with channel_to(server.health_address) as probe:
            for service in ("", *SERVICES):
                assert await status(probe, service) == SERVING


async def test_the_port_for_probes_offers_nothing_else() -> None:
    async with running(settings(health_listen="127.0.0.1:0")) as server:
        assert server.health_address is not None
        async with channel_to(server.health_address) as probe:
            for path in (
                "/factstr.v1.ServerService/GetServerInfo",
                "/factstr.v1.EventStoreService/Append",
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            ):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await unary(probe, path)(b"", timeout=20)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_port_for_probes_may_be_a_unix_socket(tmp_path: object) -> None:
    async with running(settings(health_listen=f"unix:{tmp_path}/health")) as server:
        async with channel_to(f"unix:{tmp_path}/health") as probe:
            assert await status(probe, SERVICES[0]) == SERVING
        assert server.health_address == f"unix:{tmp_path}/health"


async def test_while_the_store_does_not_answer_the_process_lives_and_its_services_do_not() -> None:
    async with running(settings(health_listen="127.0.0.1:0")) as server:
        assert server.health_address is not None
        async with channel_to(server.health_address) as probe:
            server.log.available(False)
            await _until_it_is(NOT_SERVING, probe)
            assert await status(probe, "") == SERVING
            server.log.available(True)
            await _until_it_is(SERVING, probe)


async def test_a_draining_server_lives_and_says_that_it_does_not_serve() -> None:
    wanted = settings(health_listen="127.0.0.1:0", drain=timedelta(seconds=10))
    async with running(wanted) as server:
        assert server.health_address is not None
        async with channel_to(server.addresses[0]) as channel, channel_to(server.health_address) as probe:
            # Something that the drain waits for.
            with server._edge._worked_on(0):
                server._edge._under_way += 1
                stopping = asyncio.create_task(server.stop())
                await until(lambda: server._edge.draining, "it drains")
                for asked in (channel, probe):
                    assert await status(asked, SERVICES[0]) == NOT_SERVING
                    assert await status(asked, "") == SERVING
                server._edge._under_way -= 1
                server._edge._idle.set()
            await stopping


async def _until_it_is(wanted: int, probe: grpc.aio.Channel) -> None:
    """What is told of a change comes a moment after it."""
    watch = streaming(probe, "/grpc.health.v1.Health/Watch")
    request = health_pb2.HealthCheckRequest(service=SERVICES[0])
    call = watch(request.SerializeToString(), timeout=20)
    found = None
    while found != wanted:
        response = await call.read()
        assert isinstance(response, bytes)
        found = health_pb2.HealthCheckResponse.FromString(response).status
    call.cancel()
