"""An append is checked in one order: empty, validity, size, idempotency key, context."""

from tests.conformance.driver import Driver, NewFact, Query, of_type, refused, where

TOO_MANY = [NewFact("taken")] * 10_001
BAD_KEY = "\n"


async def test_empty_comes_before_validity(store: Driver) -> None:
    with refused("EMPTY_APPEND", "events"):
        await store.append([], key=BAD_KEY)
    with refused("EMPTY_APPEND", "events"):
        await store.append_if([], where("{"), None)


async def test_empty_comes_before_the_key_and_the_context(store: Driver) -> None:
    await store.append([NewFact("taken")], key="k")
    with refused("EMPTY_APPEND"):
        await store.append([], key="k")
    with refused("EMPTY_APPEND"):
        await store.append_if([], of_type("taken"), None)


async def test_validity_comes_before_size(store: Driver) -> None:
    with refused("INVALID_PAYLOAD", "events[10000].payload"):
        await store.append([*TOO_MANY[1:], NewFact(payload="{")])
    with refused("INVALID_ARGUMENT", "idempotency_key"):
        await store.append(TOO_MANY, key=BAD_KEY)
    with refused("INVALID_PREDICATE"):
        await store.append_if(TOO_MANY, where("{"), None)


async def test_validity_comes_before_the_key_and_the_context(store: Driver) -> None:
    await store.append([NewFact("taken")], key="k")
    with refused("INVALID_PAYLOAD"):
        await store.append([NewFact(payload="{")], key="k")
    with refused("INVALID_PREDICATE"):
        await store.append_if([NewFact()], where("{"), None, key="k")
    with refused("INVALID_PAYLOAD"):
        await store.append_if([NewFact(payload="{")], of_type("taken"), None)


async def test_size_comes_before_the_key_and_the_context(store: Driver) -> None:
    await store.append([NewFact("taken")], key="k")
    with refused("BATCH_TOO_LARGE"):
        await store.append(TOO_MANY, key="k")
    with refused("BATCH_TOO_LARGE"):
        await store.append_if(TOO_MANY, of_type("taken"), None)


async def test_the_key_comes_before_the_context(store: Driver) -> None:
    first = await store.append_if([NewFact("taken")], of_type("taken"), None, key="k")
    with refused("IDEMPOTENCY_KEY_REUSED"):
        await store.append_if([NewFact("other")], of_type("taken"), None, key="k")
    assert await store.append_if([NewFact("taken")], of_type("taken"), None, key="k") == first.as_repeat
    assert await store.version(Query()) == 1
