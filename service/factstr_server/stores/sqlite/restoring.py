"""Makes a store of a backup, and of its log another one than the log that the backup was taken from.

Facts that were committed after the backup are lost, and clients have seen them. So a restored log has a new
`history_id`, which tells whoever knows more than it holds; and every lease of before is over, because what was
acknowledged in the lost history must not move a cursor over facts that nobody saw. The key of the acknowledgement
tokens stays, so that those tokens are refused for what they are: of a lost lease (docs/decisions/0027).
"""

import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import apsw

from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.backing_up import Progress, copy_pages
from factstr_server.stores.sqlite.database import (
    APPLICATION_ID,
    BACKUP_ID,
    FileLock,
    check_application,
    check_place,
    finish_copy,
    format_of,
    open_beside_server,
    open_copy,
    told_of,
)
from factstr_server.stores.sqlite.verifying import Verified, verify_database, verify_file
from factstr_server.stores.sqlite.whole_file import written_whole


class DamagedBackup(StoreError):
    """The backup was not restored."""

    def __init__(self, backup: Path, found: Verified) -> None:
        super().__init__(f"{backup} is damaged, and was not restored; take another backup")
        self.found = found


def check_backup(backup: Path, progress: Progress) -> Verified:
    """What restoring would find. Raises StoreError for what is no backup, or of an earlier format."""
    with told_of(backup), closing(_opened(backup)):
        return verify_file(backup, progress)


def restore_file(backup: Path, database: Path, progress: Progress) -> Verified:
    """What was restored. Raises StoreError; DamagedBackup where something was found."""
    check_place(database)
    with told_of(backup), closing(_opened(backup)) as source:
        lock = FileLock(database)
        try:
            with written_whole(database, like=backup) as partial:
                copy_pages(source, partial, APPLICATION_ID, "restoring", progress)
                return _make_store(backup, partial, progress)
        finally:
            lock.release()


def _opened(backup: Path) -> apsw.Connection:
    if backup.is_dir():
        raise StoreError(f"there is no backup at {backup}, which is a folder; name a backup in it")
    if not backup.is_file():
        raise StoreError(f"there is no backup at {backup}")
    connection = open_beside_server(backup)
    try:
        if connection.pragma("application_id") != BACKUP_ID:
            if check_application(connection, backup):
                raise StoreError(
                    f"{backup} is a store and no backup; make one of it: factstr-server backup --store "
                    f"sqlite:///{backup} --to FILE"
                )
            raise StoreError(f"{backup} is no backup; it is empty")
        format_of(connection, backup)
    except (StoreError, apsw.Error):
        connection.close()
        raise
    return connection


def _make_store(backup: Path, partial: Path, progress: Progress) -> Verified:
    """Marked as unfinished until it is one; brought to this version's format on the way."""
    with told_of(partial), closing(open_copy(partial)) as connection:
        found = verify_database(connection, progress)
        if found.findings:
            raise DamagedBackup(backup, found)
        _begin_history(connection)
        finish_copy(connection)
        return found


def _begin_history(connection: apsw.Connection) -> None:
    """Epochs go on where none of the lost history can have come to, nor of any restore before this one, whatever backup
    that was of: at the milliseconds since 1970. A lease takes more than one, so no history is ahead of the clock.
    """
    milliseconds = time.time_ns() // 1_000_000
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        """
        UPDATE store SET
            history_id = ?,
            last_lease_epoch = max(last_lease_epoch, ?) + (SELECT count(*) FROM durable_streams)
        """,
        (str(uuid4()), milliseconds),
    )
    connection.execute(
        """
        UPDATE durable_streams SET lease_epoch = last_lease_epoch - place
        FROM store, (
            SELECT durable_stream AS name, row_number() OVER (ORDER BY durable_stream) - 1 AS place
            FROM durable_streams
        )
        WHERE durable_stream = name
        """
    )
    connection.execute("COMMIT")
