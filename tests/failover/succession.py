"""A primary, its standby, and those that will come after them. Their places are known from the beginning, so that
servers can be told of all of them at once.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from tests.postgres.cluster import SUPERUSER, Cluster


class Succession:
    """Clusters, each of which takes over from the one before it."""

    def __init__(self, primary: Cluster, heirs: int) -> None:
        self.primary = primary
        # They have their ports, but nobody listens there yet.
        self._coming = [Cluster(primary.installation) for _ in range(heirs)]
        self._clusters = [primary, *self._coming]
        self._round = 0
        self.standby: Cluster | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, heirs: int) -> AsyncIterator[Self]:
        """One primary that runs, and places for so many heirs."""
        succession = cls(await asyncio.to_thread(Cluster.create), heirs)
        try:
            yield succession
        finally:
            for cluster in succession._clusters:
                await asyncio.to_thread(cluster.close)

    def url(self, **parameters: str) -> str:
        hosts = ",".join(f"127.0.0.1:{cluster.port}" for cluster in self._clusters)
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{SUPERUSER}@{hosts}/postgres?target_session_attrs=read-write&{query}"

    async def prepare(self, *, synchronous: bool = True) -> Cluster:
        """The next heir begins to follow the primary."""
        self.standby = self._coming.pop(0)
        self._round += 1
        name = f"standby_{self._round}"
        await asyncio.to_thread(self.primary._start_standby, self.standby, name)
        if synchronous:
            await asyncio.to_thread(self.primary.make_synchronous, name)
        return self.standby

    async def kill_primary(self) -> None:
        await asyncio.to_thread(self.primary.kill)

    async def promote(self) -> None:
        """The heir takes over."""
        assert self.standby is not None
        await asyncio.to_thread(self.standby.promote)
        self.primary, self.standby = self.standby, None
