"""`factstr-server copy`: moves a whole store to another place or kind, and tells how far it is.

The copy is a task, which SIGINT and SIGTERM cancel, so that it ends its connections in order; a second signal ends the
process at once. Whichever way it ends early, the target says of itself that it is unfinished.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, TextIO

from factstr_server.cli.flags import STORES, Failure, Flags
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

_LINES_APART_SECONDS: Final = 2.0
_REDRAWN_AFTER_SECONDS: Final = 0.2


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


async def _copy(source: str, target: str, progress: "ProgressLines") -> Copied:
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


class ProgressLines:
    """A line at a time, or on a terminal one line that is drawn again."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._terminal = out.isatty()
        self._apart = _REDRAWN_AFTER_SECONDS if self._terminal else _LINES_APART_SECONDS
        self._doing = ""
        self._began = self._shown = 0.0
        self._drawn = False

    def __call__(self, doing: str, done: int, total: int) -> None:
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._began = doing, now
        elif done < total and now < self._shown + self._apart:
            return
        self._shown = now
        seconds = now - self._began
        rate = f", {done / seconds:,.0f} facts/s" if seconds and done else ""
        line = f"{doing}: {done:,} of {total:,} facts ({100 * done // total if total else 100} %){rate}"
        self._write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._drawn = self._terminal
        if done == total:
            self.end()

    def end(self) -> None:
        """What is written next begins a line of its own."""
        if self._drawn:
            self._write("\n")
            self._drawn = False

    def _write(self, text: str) -> None:
        """Whether anybody reads it makes no difference to the copy."""
        with suppress(OSError):
            self._out.write(text)
            self._out.flush()
