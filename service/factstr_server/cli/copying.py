"""`factstr-server copy`: moves a whole store to another place or kind, and tells how far it is.

The copy is a task, which SIGINT and SIGTERM cancel, so that it ends its connections in order; a second signal ends the
process at once. Whichever way it ends early, the target says of itself that it is unfinished.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from factstr_server.cli.flags import STORES, Failure, Flags
from factstr_server.cli.progress import ProgressLines
from factstr_server.stores.copying import Copied, copy_store
from factstr_server.stores.offline import source_by_url, target_by_url
from factstr_server.stores.protocol import StoreError

_EXAMPLES: Final = f"""\
example:
  factstr-server copy --from sqlite:///factstr.db --to 'postgresql://owner@host/facts'
      moves a store from SQLite to PostgreSQL; the file is only read

The copy is the same store, to the last byte: numbers, times, batches, idempotency keys, durable streams with their
cursors, and tokens that were given out. So only one of the two may be served afterwards. Both must be out of use
meanwhile, and the target new or empty. A copy that ends early leaves a target that no server opens.

{STORES}"""


def copy(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server copy",
        environment,
        usage="factstr-server copy --from URL --to URL",
        description="Copies a whole store, exactly, and compares the copy with it.",
        examples=_EXAMPLES,
    )
    flags.required_text("--from", "URL", "the store to copy, which is only read")
    flags.required_text("--to", "URL", "where to, which must be new or empty")
    given = vars(flags.parse(arguments))
    progress = ProgressLines(sys.stderr)
    try:
        copied = asyncio.run(_copy(given["from"], given["to"], progress))
    except StoreError as error:
        progress.end()
        raise Failure(str(error)) from None
    progress.end()
    print(
        f"copied {copied.facts} facts, {copied.batches} batches, {copied.keys} keys, {copied.durable_streams} durable "
        "streams; both stores are equal"
    )


async def _copy(source: str, target: str, progress: ProgressLines) -> Copied:
    copying = asyncio.create_task(copy_store(source_by_url(source), target_by_url(target), progress))
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if interrupted:
            os._exit(1)
        interrupted = True
        copying.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, interrupt)
    try:
        return await copying
    except asyncio.CancelledError:
        raise StoreError("interrupted before anything was copied") from None
