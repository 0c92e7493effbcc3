"""A server in this process whose metrics are fetched as Prometheus fetches them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from factstr_server.server import Server, running
from factstr_server.settings import Settings
from factstr_server.stores.protocol import Store
from tests.sharing.servers import Remote


class Scraped(NamedTuple):
    server: Server
    remote: Remote
    """Its client."""
    address: str
    """Of its metrics."""


@asynccontextmanager
async def serving(store: Store | None = None) -> AsyncIterator[Scraped]:
    """On memory, unless another store is given."""
    settings = Settings(store="memory:", listen=("127.0.0.1:0",), metrics_listen="127.0.0.1:0")
    async with running(settings, store) as server, Remote(server.addresses[0]) as remote:
        assert server.metrics_address
        yield Scraped(server, remote, server.metrics_address)


async def samples(address: str) -> list[Sample]:
    """All that one scrape gives. Raises HTTPError."""
    return parsed(await asyncio.to_thread(scrape, address))


def scrape(address: str) -> str:
    with urlopen(f"http://{address}/metrics", timeout=30) as response:
        text: bytes = response.read()
    return text.decode()


def parsed(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(found: Iterable[Sample], name: str, **labels: str) -> float | None:
    """Of the one sample with this name and, among others, these labels; None where there is none."""
    values = [
        sample.value for sample in found if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(values) <= 1, values
    return values[0] if values else None
