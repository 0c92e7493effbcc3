"""Owns `factstr query`."""

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from factstr.cli.output import for_people, write_lines, write_records
from factstr.cli.session import open_store, selected
from factstr.cli.table import write_table
from factstr.event import EventRecord


def run(options: Namespace) -> int:
    """Write the facts that match, or only their context's version."""
    query = selected(options)
    if options.after is not None:
        query = query.after(options.after)
    with (
        open_store(options) as store,
        store.query(
            query,
            limit=0 if options.version_only else options.limit,
            order="descending" if options.descending else "ascending",
            before=options.before,
        ) as result,
    ):
        version = "none" if result.context_version is None else str(result.context_version)
        if options.version_only:
            # As --expected-version takes it.
            write_lines([f"{version}\n"])
        elif for_people(options):
            records = _Counted(result)
            write_table(records)
            facts = "1 fact" if records.count == 1 else f"{records.count:,} facts"
            print(f"{facts}, context version {version}", file=sys.stderr)
        else:
            write_records(result)
    return 0


@dataclass
class _Counted:
    """Records, counted as they go by."""

    records: Iterable[EventRecord]
    count: int = 0

    def __iter__(self) -> Iterator[EventRecord]:
        for record in self.records:
            self.count += 1
            yield record
