"""Backups of a file that may be in use: its pages at one moment, in a file of their own.

A backup is no store yet: it says so in its header, and no server opens it. What a restored log must be told of (its
newest facts may be lost) is done on the way back (`restoring`), so that copying a backup into place cannot skip it.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import apsw

from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.database import (
    BACKUP_ID,
    check_application,
    check_place,
    format_of,
    open_beside_server,
    told_of,
)
from factstr_server.stores.sqlite.whole_file import written_whole

_PAGES_PER_STEP: Final = 256
"""Between two steps an interrupt is heard."""

Progress: TypeAlias = Callable[[str, int, int, str], None]
"""Told what is being done, how much is done, of how much, and of what."""


class BackedUp(NamedTuple):
    """What a backup holds."""

    facts: int
    size: int
    """In bytes."""


def back_up_file(database: Path, to: Path, progress: Progress) -> BackedUp:
    """Raises StoreError. Servers may use the file, and write, meanwhile."""
    check_place(database)
    if to.resolve() == database.resolve():
        raise StoreError(f"{to} is the store itself; name another file to back it up to")
    with told_of(database), closing(open_beside_server(database)) as source:
        if not check_application(source, database):
            raise StoreError(f"there is no store in {database}")
        format_of(source, database)
        with written_whole(to, like=database) as partial:
            facts = copy_pages(source, partial, BACKUP_ID, "backing up", progress)
            size = partial.stat().st_size
    return BackedUp(facts, size)


def copy_pages(source: apsw.Connection, to: Path, application_id: int, doing: str, progress: Progress) -> int:
    """Copies a database at one moment, into a file that needs none beside it, and says there what it is. Returns how
    many facts it holds. Raises StoreError.
    """
    # Without this transaction every commit of a server would make the copy begin again.
    source.execute("BEGIN")
    facts: int = source.execute("SELECT coalesce(max(sequence_number), 0) FROM records").get
    with told_of(to), closing(apsw.Connection(str(to))) as target:
        # The file counts only after it is whole and synced: until then nothing needs to be undone.
        target.pragma("journal_mode", "OFF")
        target.pragma("synchronous", "OFF")
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(_PAGES_PER_STEP)
                kib = source.pragma("page_size") // 1024
                done = copying.page_count - copying.remaining
                progress(doing, done * kib, copying.page_count * kib, "KiB")
        target.pragma("journal_mode", "DELETE")
        target.pragma("application_id", application_id)
    source.execute("COMMIT")
    return facts
