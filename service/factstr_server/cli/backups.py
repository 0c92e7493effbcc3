"""`factstr-server backup`, `verify` and `restore`: what an operator does with a SQLite store's file.

They run in the main thread, and SIGTERM interrupts them as SIGINT does, so that nothing half-written is left.
"""

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from factstr_server.cli.flags import Failure, Flags
from factstr_server.cli.progress import ProgressLines
from factstr_server.stores.offline import back_up_store, restore_store, verify_store
from factstr_server.stores.protocol import StoreError
from factstr_server.stores.sqlite.restoring import DamagedBackup, check_backup
from factstr_server.stores.sqlite.verifying import Verified

_QUIET: Final = "print only what is wrong, as programs that run by themselves should"

_STORES: Final = """\
A store is a file: sqlite:///relative.db or sqlite:////absolute.db. PostgreSQL has its own tools for this; see
docs/backups.md.
"""

_BACKUP: Final = f"""\
example:
  factstr-server backup --store sqlite:////var/lib/factstr/facts.db --to /backups/facts-2026-11-29.db
      while the server runs, and appends go on

The backup holds all that was committed when it began. It is one file, whole or not there, and no server opens it:
factstr-server restore makes a store of it, and factstr-server verify checks it.

{_STORES}"""

_VERIFY: Final = f"""\
example:
  factstr-server verify --store sqlite:////var/lib/factstr/facts.db
      a store, also while its server runs, or a backup

Checks everything: SQLite's own structures, numbers, times, batches, every record and payload, the index against the
records, idempotency keys, durable streams, and that there is nothing else. It only reads. The exit code is 0 where
nothing is wrong, else 1. It cannot know that an id, a key, a fingerprint, a time or a cursor was replaced by another
valid one.

{_STORES}"""

_RESTORE: Final = f"""\
example:
  factstr-server restore --from /backups/facts-2026-11-29.db --store sqlite:////var/lib/factstr/facts.db
      verifies the backup, and makes a new store of it
  factstr-server restore --from /backups/facts-2026-11-29.db --check
      only verifies it

The restored log has a new history_id, because its newest facts may be lost: streams of clients that saw them end with
LOG_DIVERGED. Leases of before are over; durable streams go on from their cursors in the backup.

{_STORES}"""


def backup(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server backup",
        environment,
        usage="factstr-server backup --store URL --to FILE [--quiet]",
        description="Copies a SQLite store to a file, consistently, while its server runs.",
        examples=_BACKUP,
    )
    flags.required_text("--store", "URL", "the store, which is only read")
    flags.required_text("--to", "FILE", "the backup, which must not be there yet")
    flags.switch("--quiet", _QUIET)
    given = flags.parse(arguments)
    to = _path(flags, "--to", given.to)
    with _told("no backup was made", quiet=given.quiet) as progress:
        done = back_up_store(given.store, to, progress)
    if not given.quiet:
        print(f"backed up {done.facts} facts (head {done.facts}) to {given.to}, {done.size} bytes")


def verify(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server verify",
        environment,
        usage="factstr-server verify --store URL [--quiet]",
        description="Checks a SQLite store, or a backup of one, for everything that it must hold.",
        examples=_VERIFY,
    )
    flags.required_text("--store", "URL", "the store or backup, which is only read")
    flags.switch("--quiet", _QUIET)
    given = flags.parse(arguments)
    with _told("nothing was changed", quiet=given.quiet) as progress:
        found = verify_store(given.store, progress)
    if found.findings or not given.quiet:
        _print(found)
    _fail_where_damaged(given.store, found)


def restore(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Raises Failure."""
    flags = Flags(
        "factstr-server restore",
        environment,
        usage="factstr-server restore --from FILE (--store URL | --check)",
        description="Makes a SQLite store of a backup.",
        examples=_RESTORE,
    )
    flags.required_text("--from", "FILE", "the backup, which is only read")
    flags.text("--store", "URL", "the new store, which must not be there yet")
    flags.switch("--check", "verify the backup, and restore nothing")
    given = vars(flags.parse(arguments))
    source = _path(flags, "--from", given["from"])
    if given["check"]:
        with _told("nothing was changed") as progress:
            found = check_backup(source, progress)
        _print(found)
        _fail_where_damaged(str(source), found)
        return
    if not given["store"]:
        flags.refuse("--store is missing (or FACTSTR_STORE), or --check; see factstr-server restore --help")
    with _told("no store was made") as progress:
        found = restore_store(source, given["store"], progress)
    _print(found)
    print(
        f"restored to {given['store']} as a new history; clients that saw later facts are told LOG_DIVERGED"
    )


def _path(flags: Flags, flag: str, text: str) -> Path:
    """A backup is no store, and so it has no URL."""
    if text.startswith("sqlite:"):
        path = text.removeprefix("sqlite:///") if text.startswith("sqlite:///") else "FILE"
        flags.refuse(
            f"{flag} {text}: a backup is named by its path and not by a URL; write {flag} {path or 'FILE'}"
        )
    return Path(text)


def _fail_where_damaged(name: str, found: Verified) -> None:
    count = len(found.findings) + found.more
    if count:
        findings = "1 finding" if count == 1 else f"{count} findings"
        raise Failure(f"{name} is damaged: {findings}; stop writing to it, and restore a backup")


def _print(found: Verified) -> None:
    for finding in found.findings:
        print(finding)
    if found.more:
        print(f"and {found.more} more")
    if not found.findings:
        print(
            f"ok: {found.facts} facts (head {found.facts}), {found.batches} batches, {found.keys} keys, "
            f"{found.durable_streams} durable streams"
        )


@contextmanager
def _told(interrupted: str, *, quiet: bool = False) -> Iterator[ProgressLines]:
    progress = ProgressLines(None if quiet else sys.stderr)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield progress
    except DamagedBackup as damaged:
        progress.end()
        _print(damaged.found)
        raise Failure(str(damaged)) from None
    except StoreError as error:
        progress.end()
        raise Failure(str(error)) from None
    except KeyboardInterrupt:
        progress.end()
        raise Failure(f"interrupted; {interrupted}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
