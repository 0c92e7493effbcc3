"""Servers in processes of their own, and the way from them to PostgreSQL through a link."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from tests.reliability.network.link import Link
from tests.sharing.servers import ServerProcess


async def served(stack: AsyncExitStack, urls: Sequence[str], folder: Path) -> list[ServerProcess]:
    """One server on each. They serve, and are killed at the end if they run still."""
    servers = [ServerProcess(url, folder / f"server-{number}.log") for number, url in enumerate(urls)]
    for server in servers:
        stack.callback(server.kill)
    for server in servers:
        await asyncio.to_thread(server.address)
    return servers


async def stopped(server: ServerProcess) -> None:
    """As an operator would, while its links go on."""
    await asyncio.to_thread(server.stop)


def place_of(url: str) -> str:
    """The database's address."""
    place = urlsplit(url)
    return f"{place.hostname}:{place.port or 5432}"


def through(link: Link, url: str) -> str:
    """The same database, reached through a link."""
    place = urlsplit(url)
    user = place.netloc.rpartition("@")[:2]
    return place._replace(netloc="".join((*user, link.address))).geturl()
