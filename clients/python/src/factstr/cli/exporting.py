"""Owns `factstr export`: facts as NDJSON, in one snapshot, to a file that is there whole or not at all."""

import gzip
import os
import stat
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from factstr.cli.ndjson import line_from_record
from factstr.cli.output import naming, standard_output
from factstr.cli.progress import Progress
from factstr.cli.session import open_store, selected
from factstr.query_result import QueryResult

_CHUNK = 1_000


class _Bytes(Protocol):
    def writelines(self, lines: Iterable[bytes], /) -> None: ...
    def flush(self) -> None: ...


def run(options: Namespace) -> int:
    """Write the facts that match to the file."""
    query = selected(options)
    if options.after is not None:
        query = query.after(options.after)
    with (
        open_store(options) as store,
        store.query(query, limit=options.limit, before=options.before) as result,
        _destination(options.file) as out,
        Progress("export" if options.file == "-" else options.file) as progress,
    ):
        _write(result, out, progress, query.min_sequence_number or 0)
    if options.file != "-":
        print(f"{options.file}: {progress.facts:,} facts", file=sys.stderr)
    return 0


def _write(result: QueryResult, out: _Bytes, progress: Progress, after: int) -> None:
    span = max((result.context_version or 0) - after, 1)
    lines: list[bytes] = []
    for record in result:
        lines.append(line_from_record(record).encode())
        if len(lines) == _CHUNK:
            out.writelines(lines)
            # How far in the log: what is left of it may match more or less often.
            progress.add(len(lines), (record.sequence_number - after) / span)
            lines.clear()
    out.writelines(lines)
    progress.add(len(lines), 1.0)
    out.flush()


@contextmanager
def _destination(path: str) -> Iterator[_Bytes]:
    if path == "-":
        with standard_output() as out:
            yield out
    elif _is_special(path):
        with open(path, "wb") as special, naming(path):  # noqa: PTH123  (a device or pipe, named by the user)
            yield special
    else:
        with naming(path), _replacing(Path(path)) as file:
            yield file


def _is_special(path: str) -> bool:
    """Tell whether there is something that is no file to be replaced: a device or a pipe."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116  (beside stat.S_ISREG)
    except FileNotFoundError:
        return False


@contextmanager
def _replacing(path: Path) -> Iterator[_Bytes]:
    """Write beside the file and put it in its place at the end, so that half an export never bears its name."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as raw:
            if path.suffix == ".gz":
                # Without name and time, the same facts give the same bytes.
                with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as packed:
                    yield packed
            else:
                yield raw
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
