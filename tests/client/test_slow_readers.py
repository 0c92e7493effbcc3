"""The timeout of a query bounds each wait for the server, however long its caller takes over the facts."""

import grpc
import pytest

import factstr
from tests.client.fake_server import FakeServer, Refusal

NO_RETRIES = factstr.Retries(limit=0)
TOO_LATE = Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "too late")


@pytest.fixture
def slowly_read(fake: FakeServer) -> FakeServer:
    """Ten facts, one a message; each call ends with its deadline after the one that it was opened for."""
    fake.store(*(("a", number) for number in range(10)))
    fake.records_per_message, fake.break_after_messages, fake.break_with = 1, [1] * 9, TOO_LATE
    return fake


def test_a_deadline_that_passed_over_earlier_facts_ends_nothing(slowly_read: FakeServer) -> None:
    with factstr.connect(slowly_read.target, retries=NO_RETRIES) as store:
        assert [record.sequence_number for record in store.query()] == list(range(1, 11))


async def test_asyncio_a_deadline_that_passed_over_earlier_facts_ends_nothing(
    slowly_read: FakeServer,
) -> None:
    async with factstr.aio.connect(slowly_read.target, retries=NO_RETRIES) as store:
        assert [record.sequence_number async for record in await store.query()] == list(range(1, 11))


def test_a_wait_that_takes_its_own_whole_time_ends_the_query(slowly_read: FakeServer) -> None:
    slowly_read.instead = [None, TOO_LATE]
    with factstr.connect(slowly_read.target, retries=NO_RETRIES) as store:
        result = iter(store.query())
        assert next(result).sequence_number == 1
        with pytest.raises(factstr.DeadlineExceeded):
            next(result)


async def test_asyncio_a_wait_that_takes_its_own_whole_time_ends_the_query(slowly_read: FakeServer) -> None:
    slowly_read.instead = [None, TOO_LATE]
    async with factstr.aio.connect(slowly_read.target, retries=NO_RETRIES) as store:
        result = aiter(await store.query())
        assert (await anext(result)).sequence_number == 1
        with pytest.raises(factstr.DeadlineExceeded):
            await anext(result)
