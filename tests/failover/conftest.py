"""A PostgreSQL that tests may kill, and a schema of its own for each of them."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.failover.proxy import Proxy
from tests.postgres.cluster import Cluster


@pytest.fixture(scope="module")
def cluster_of_module() -> Iterator[Cluster]:
    with Cluster.create() as cluster:
        yield cluster


@pytest.fixture
def cluster(cluster_of_module: Cluster) -> Iterator[Cluster]:
    """It runs, and runs again after the test."""
    yield cluster_of_module
    if not cluster_of_module.runs:
        cluster_of_module.start()


@pytest.fixture
def url(cluster: Cluster) -> str:
    """A fresh place on it."""
    return cluster.url(schema=f"t_{secrets.token_hex(8)}")


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    """The network to it."""
    async with Proxy.to(cluster.port) as proxy:
        yield proxy


@pytest.fixture
def url_by_proxy(cluster: Cluster, url: str, proxy: Proxy) -> str:
    """The same fresh place, reached through the proxy."""
    return url.replace(f":{cluster.port}/", f":{proxy.port}/")
