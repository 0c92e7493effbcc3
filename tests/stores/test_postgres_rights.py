"""Roles that own nothing: what they are told before the schema is prepared, and which rights are enough."""

import re
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from psycopg import sql

from factstr_server.stores.offline import migrate_store
from factstr_server.stores.protocol import StoreError
from tests.architecture.repository import ROOT
from tests.conformance.driver import NewFact, Options, of_type
from tests.conformance.wire import Wire
from tests.postgres.fresh import fresh_url, without_schema
from tests.stores.opened import opened


class Role(NamedTuple):
    """A role of its own, and the URLs of one store for it and for the schema's owner."""

    name: str
    url: str
    owner_url: str

    def execute(self, statement: str) -> None:
        """As the owner."""
        with psycopg.connect(without_schema(self.owner_url), autocommit=True) as connection:
            connection.execute(statement)

    def grant_what_is_documented(self) -> None:
        text = (ROOT / "docs" / "postgresql.md").read_text(encoding="utf-8")
        [grants] = re.findall(r"```sql\n(GRANT.*?)```", text, re.DOTALL)
        schema = self.owner_url.partition("schema=")[2]
        ours = re.sub(r"\bfactstr\b(?!_)", schema, grants).replace("factstr_server", self.name)
        self.execute(ours)


@pytest.fixture
async def role(tmp_path: Path) -> AsyncIterator[Role]:
    name, owner_url = f"r_{secrets.token_hex(8)}", fresh_url(tmp_path)
    role = Role(name, f"{owner_url}&user={name}&password=secret", owner_url)
    role.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    yield role
    role.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def refusal(url: str) -> str:
    with pytest.raises(StoreError) as caught:
        async with opened(url):
            pass
    message = str(caught.value)
    assert "\n" not in message
    assert "secret" not in message
    return message


async def test_a_role_that_owns_nothing_is_told_to_have_the_schema_prepared(role: Role) -> None:
    schema = role.owner_url.partition("schema=")[2]
    message = await refusal(role.url)
    assert f"the schema {schema} does not exist, and this role may not create it" in message
    assert "factstr-server migrate --store URL" in message
    role.execute(f"CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {role.name}")
    message = await refusal(role.url)
    assert "has not this version's format, and this role may not change it" in message
    assert "factstr-server migrate --store URL" in message
    await migrate_store(role.owner_url)
    assert "may not use it" in await refusal(role.url)
    role.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM {role.name}")
    assert "may not use it" in await refusal(role.url)
    role.grant_what_is_documented()
    async with opened(role.url) as store:
        assert await store.head() == 0


@pytest.mark.parametrize("public", ["may execute", "may execute nothing"])
async def test_the_documented_rights_are_enough_for_everything_that_a_server_does(
    role: Role, public: str
) -> None:
    await migrate_store(role.owner_url)
    if public == "may execute nothing":
        schema = role.owner_url.partition("schema=")[2]
        role.execute(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} FROM PUBLIC")
    role.grant_what_is_documented()
    async with Wire(role.url, Options(idempotency_retention=timedelta(microseconds=1))) as server:
        first = await server.append([NewFact("a", '{"n":1}')], key="k")
        again = await server.append([NewFact("a", '{"n":1}')], key="k")
        assert again.first == first.first + 1, "the key has expired, and was used again"
        await server.append_if([NewFact("a"), NewFact("b")], of_type("a"), 2)
        assert (await server.query(of_type("a"))).numbers == [1, 2, 3]
        assert (await server.query()).numbers == [1, 2, 3, 4]
        assert await server.sequence_number_at(first.occurred_at) == 1
        async with server.stream_to_durable("s", of_type("a")) as stream:
            batches = await stream.until_caught_up()
            assert await server.acknowledge("s", batches[-1].token) == 4
        async with server.stream_all(0) as live:
            assert len(await live.until_caught_up()) == 3
        assert (await server.reset("s", 0, force=True)).cursor == 0
        await server.delete("s", force=True)
        await server.restart()
        assert await server.head() == 4


async def test_a_log_that_lost_its_end_gets_its_new_history_with_the_documented_rights(role: Role) -> None:
    await migrate_store(role.owner_url)
    role.grant_what_is_documented()
    schema = role.owner_url.partition("schema=")[2]
    async with Wire(role.url, Options()) as server:
        await server.append_types("a")
        before = await server.info()
        async with server.stream_all(0) as stream:
            await stream.batches(1)
            role.execute(
                f"BEGIN; DELETE FROM {schema}.records; UPDATE {schema}.head SET sequence_number = 0; COMMIT"
            )
            assert (await stream.ended()).reason == "LOG_DIVERGED"
        assert (await server.info()).history_id != before.history_id


async def test_a_server_can_neither_change_nor_delete_a_fact_with_the_documented_rights(role: Role) -> None:
    await migrate_store(role.owner_url)
    role.grant_what_is_documented()
    schema = role.owner_url.partition("schema=")[2]
    async with opened(role.url):
        pass
    with psycopg.connect(without_schema(role.url), autocommit=True) as connection:
        for statement in (
            "UPDATE {}.records SET event_type = 'x'",
            "DELETE FROM {}.records",
            "TRUNCATE {}.batches",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(statement).format(sql.Identifier(schema)))
