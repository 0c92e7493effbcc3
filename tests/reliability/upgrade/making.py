"""Makes the kept stores: the server of each one's commit is started on a new store, and filled over gRPC.

    python -m tests.reliability.upgrade.making [NAME ...]

writes those named, or all, anew. PostgreSQL is what the tests run (tests/postgres/installation.py), and so is pg_dump.
"""

import asyncio
import gzip
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.conformance.driver import EVERYTHING, Driver, NewFact, refused
from tests.conformance.streams import Batch, DurableStream, Stream
from tests.postgres.cluster import Cluster
from tests.reliability.crash.mortal import MortalServer
from tests.reliability.upgrade.earlier import environment_of
from tests.reliability.upgrade.fixtures import FIXTURES, SCHEMA, Fixture
from tests.reliability.upgrade.kept import Kept, KeptAppend, KeptStream, save
from tests.reliability.upgrade.rich_log import (
    CONSUMPTIONS,
    GONE,
    HELD,
    LAST_KEY,
    Append,
    Consumption,
    at_once,
    in_turn,
    the_last,
)
from tests.sharing.servers import Remote
from tests.stores.list_log import Request

_SEED: Final = 1
_NOT_EVERYWHERE: Final = re.compile(rb"^(\\(un)?restrict .*|SET transaction_timeout = 0;)\n", re.MULTILINE)
"""Lines of a dump that not every PostgreSQL from 15 on takes, or only psql."""


def main() -> None:
    for name in sys.argv[1:] or FIXTURES:
        if not FIXTURES[name].made_of:
            _make(FIXTURES[name])


def _make(fixture: Fixture) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if fixture.kind == "sqlite":
            kept = asyncio.run(_written(fixture, f"sqlite:///{folder}/facts.db", folder))
            content = (folder / "facts.db").read_bytes()
            assert not list(folder.glob("facts.db-*")), "all of it is in the file"
        else:
            with Cluster.create() as cluster:
                kept = asyncio.run(_written(fixture, cluster.url(schema=SCHEMA), folder))
                content = _dump(cluster)
    fixture.store_file.write_bytes(gzip.compress(content, mtime=0))
    save(kept, fixture.kept_file)
    print(f"{fixture.name}: {kept.head} facts, {fixture.store_file.stat().st_size // 1024} KiB")


def _dump(cluster: Cluster) -> bytes:
    dump = [cluster.installation.program("pg_dump"), f"--schema={SCHEMA}", f"--dbname={cluster.url()}"]
    dump += ["--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges"]
    return _NOT_EVERYWHERE.sub(b"", subprocess.run(dump, check=True, capture_output=True).stdout)


async def _written(fixture: Fixture, url: str, folder: Path) -> Kept:
    """Fills the store in two lives of its server. The second one is killed with a consumer, where the database
    remembers whose a lease is.
    """
    streams: list[KeptStream] = []
    following: dict[str, Batch | None] = {}
    server = MortalServer(folder, url)
    environment = environment_of(fixture.commit, folder)
    try:
        await server.start(**environment)
        async with Remote(server.address) as store:
            info = await store.info()
            appends = await _filled(store)
            if fixture.has_streams:
                await _consumed(store, Consumption(GONE, HELD.query, 1))
                await store.delete(GONE)
                following = {each.name: await _consumed(store, each) for each in CONSUMPTIONS}
        await server.stop()
        await server.start(**environment)
        async with Remote(server.address) as store:
            if fixture.has_streams:
                streams = [
                    _state(await store.durable(each.name), following[each.name]) for each in CONSUMPTIONS
                ]
                async with store.stream_all_durable(HELD.name) as consumer:
                    next_batch = await _acknowledged(store, consumer, HELD)
                    streams.append(_state(await store.durable(HELD.name), next_batch))
                    if fixture.kind == "postgresql":
                        server.kill()
        if fixture.kind == "sqlite":
            await server.stop()
    finally:
        server.kill()
    return Kept(fixture.commit, info.store_id, info.history_id, appends, streams)


async def _filled(store: Driver) -> list[KeptAppend]:
    chance = random.Random(_SEED)
    kept = [await _appended(store, each) for each in in_turn(chance)]
    await _refused(store)
    kept += await asyncio.gather(*(_appended(store, each) for each in at_once(chance)))
    kept.append(await _appended(store, the_last(chance)))
    return sorted(kept, key=lambda append: append.answer.first)


async def _appended(store: Driver, append: Append) -> KeptAppend:
    facts, key, context = append
    expected = None if context is None else await store.version(context)
    request = Request(facts, context, expected, key)
    return KeptAppend(request, await request.sent_to(store))


async def _refused(store: Driver) -> None:
    """Leaves nothing: its key goes to another request."""
    with refused("CONDITIONAL_APPEND_CONFLICT"):
        await store.append_if([NewFact("refused")], EVERYTHING, 7, key=LAST_KEY)


async def _consumed(store: Driver, wanted: Consumption) -> Batch | None:
    """Returns what was delivered first after the acknowledged batches."""
    async with store.stream_to_durable(wanted.name, wanted.query, start=wanted.start) as stream:
        following = await _acknowledged(store, stream, wanted)
    await store.free(wanted.name)
    if wanted.reset_to is None:
        return following
    await store.reset(wanted.name, wanted.reset_to)
    return None


async def _acknowledged(store: Driver, stream: Stream, wanted: Consumption) -> Batch | None:
    batches = await stream.until_caught_up()
    for batch in batches[: wanted.acknowledged]:
        await store.acknowledge(wanted.name, batch.token)
    return batches[wanted.acknowledged] if len(batches) > wanted.acknowledged else None


def _state(told: DurableStream, following: Batch | None) -> KeptStream:
    token, acknowledges = (following.token, following.last) if following else ("", 0)
    return KeptStream(
        told.name,
        told.query,
        told.cursor,
        told.lease_epoch,
        told.created_at,
        told.acknowledged_at,
        token,
        acknowledges,
    )


if __name__ == "__main__":
    main()
