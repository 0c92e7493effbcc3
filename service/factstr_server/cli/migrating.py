"""`factstr-server migrate`: brings a store to this version's format, and says what that took."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from factstr_server.cli.flags import STORES, Failure, Flags
from factstr_server.stores.migration import Migration
from factstr_server.stores.offline import migrate_store
from factstr_server.stores.postgres.location import shown_url
from factstr_server.stores.protocol import StoreError

_EXAMPLES: Final = f"""\
example:
  factstr-server migrate --store 'postgresql://owner@host/facts'
      prepares the schema factstr with a role that may, for servers whose role may not

A server does this by itself when it starts, where its role has the right.

{STORES}"""


def migrate(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server migrate",
        environment,
        usage="factstr-server migrate --store URL",
        description="Brings a store to this version's format, and creates it where there is none.",
        examples=_EXAMPLES,
    )
    flags.required_text("--store", "URL", "the store")
    store: str = flags.parse(arguments).store
    try:
        done = asyncio.run(migrate_store(store))
    except StoreError as error:
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        raise Failure(f"interrupted; {shown_url(store)} was not changed, or wholly") from None
    print(f"{shown_url(store)}: {_told(done)}")


def _told(done: Migration) -> str:
    if done.before is None:
        return f"created, with format {done.after}"
    if done.before == done.after:
        return f"has format {done.after} already; nothing to do"
    return f"brought from format {done.before} to {done.after}"
