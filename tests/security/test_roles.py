"""Each RPC takes a role, and who does not have it is turned away."""

from pathlib import Path

import pytest

from factstr_server.access.roles import REQUIRED_ROLES, Role, allowed, role_matrix
from factstr_server.rpc import call
from factstr_server.server import Server
from tests.architecture.repository import ROOT
from tests.security.calls import METHODS, answer
from tests.security.conftest import Tokens, bearer, served, settings, with_tokens


def test_every_rpc_has_a_required_role() -> None:
    assert REQUIRED_ROLES.keys() == METHODS.keys()


async def test_a_server_does_not_start_with_an_rpc_that_has_no_role(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = {name: role for name, role in REQUIRED_ROLES.items() if not name.endswith(".Query")}
    monkeypatch.setattr(call, "REQUIRED_ROLES", fewer)
    with pytest.raises(KeyError, match=r"EventStoreService\.Query"):
        await Server(settings()).start()


def test_what_the_roles_allow() -> None:
    assert allowed([Role.READER]) == {Role.READER}
    assert allowed([Role.WRITER]) == {Role.READER, Role.WRITER}
    assert allowed([Role.CONSUMER]) == {Role.READER, Role.CONSUMER}
    assert allowed([Role.WRITER, Role.CONSUMER]) == set(Role) - {Role.ADMIN}
    assert allowed([Role.ADMIN]) == set(Role)


@pytest.mark.parametrize("rpc", METHODS)
async def test_an_rpc_is_served_to_those_who_have_its_role_and_to_nobody_else(
    rpc: str, tokens: Tokens
) -> None:
    bearers = {role: tokens.add(f"the-{role}", role) for role in Role}
    required = REQUIRED_ROLES[rpc]
    async with served(with_tokens(tokens)) as (server, channel):
        for role, token in bearers.items():
            before = await server.log.head()
            failure = await answer(channel, rpc, bearer(token))
            if required in allowed([role]):
                assert failure is None or failure.reason not in {"PERMISSION_DENIED", "UNAUTHENTICATED"}
                continue
            assert failure is not None
            assert failure.reason == failure.code == "PERMISSION_DENIED"
            assert failure.metadata == {"required_role": required}
            assert f"the role {required}" in failure.message
            assert f"the-{role}" in failure.message
            assert await server.log.head() == before


async def test_a_token_may_have_several_roles(tokens: Tokens) -> None:
    token = tokens.add("both", Role.WRITER, Role.CONSUMER)
    async with served(with_tokens(tokens)) as (_, channel):
        assert await answer(channel, "factstr.v1.EventStoreService.Append", bearer(token)) is None
        refused = await answer(channel, "factstr.v1.EventStoreService.AcknowledgeDurable", bearer(token))
        assert refused is not None
        assert refused.reason == "INVALID_ARGUMENT"
        refused = await answer(channel, "factstr.v1.DurableStreamService.DeleteDurableStream", bearer(token))
        assert refused is not None
        assert refused.reason == "PERMISSION_DENIED"


def test_the_runbook_shows_the_matrix_as_it_is() -> None:
    assert role_matrix() in Path(ROOT / "docs/operations.md").read_text(encoding="utf-8"), (
        "put what `factstr-server token roles` prints into docs/operations.md"
    )
