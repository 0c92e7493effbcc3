"""Small reads in the event loop itself, where handing them to a thread and back would cost more than they do.

A query is read here if every alternative of it has a term that few facts hold: these facts are fetched, and the exact
matcher decides, as everywhere. Invariants: a read here looks at few facts and few bytes, and leaves everything else to
a thread; so it does for a moment after it has been slow (a cold cache, a slow disk). So the loop is held up for less
time than a handful of appends take. The facts are those of one snapshot.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from itertools import islice
from operator import attrgetter
from pathlib import Path
from time import monotonic
from typing import Final

import apsw

from factstr_server.contract.query import CompiledQuery
from factstr_server.contract.terms import OVERFLOW
from factstr_server.stores.paging import Candidate, fill_page
from factstr_server.stores.protocol import Page, Window
from factstr_server.stores.sqlite.database import open_reader
from factstr_server.stores.sqlite.reading import Reader, holds_whole_context

FEW_FACTS: Final = 64
"""Of one term."""

_MAX_LOOKUPS: Final = 8
_MAX_BYTES: Final = 128 * 1024
"""Of the facts of one term, and of all that are read."""

_MAX_STEPS: Final = 25_000
"""As `CompiledQuery.steps` counts them: 5 ms."""

_MAX_KNOWN_TERMS: Final = 16_384

_SLOW_SECONDS: Final = 0.005
_PAUSE_SECONDS: Final = 0.25
"""After a read as slow as that, threads read for so long."""

_SEQUENCE_NUMBER: Final = attrgetter("sequence_number")


class QuickReads:
    """One connection, for the event loop alone. `overflows` tells whether a fact of the log may hold OVERFLOW; it must
    do so before such a fact can be seen. It may run beside commits.
    """

    def __init__(self, database: Path, overflows: Callable[[], bool]) -> None:
        self._database = database
        self._overflows = overflows
        self._connection: apsw.Connection | None = None
        self._reader: Reader | None = None
        self._common: set[str] = set()
        """Terms that many facts hold, or large ones. They stay so: nothing leaves the log."""
        self._not_before = 0.0

    def read_context(self, query: CompiledQuery, window: Window) -> tuple[Page, Page] | None:
        """As `Reader.read_context`; None where a thread should read, or say what is wrong."""
        begin = monotonic()
        if begin < self._not_before or query.everything or query.nothing:
            return None
        try:
            candidates = self._candidates(query, self._open_reader())
        except apsw.Error:
            return None
        found = None if candidates is None else _pages(query, window, candidates)
        now = monotonic()
        if now - begin > _SLOW_SECONDS:
            self._not_before = now + _PAUSE_SECONDS
        return found

    def close(self) -> None:
        """No read may be under way. The next one opens it again."""
        if self._connection:
            self._connection.close()
        self._connection = self._reader = None

    def _open_reader(self) -> Reader:
        if self._reader is None:
            self._connection = open_reader(self._database)
            self._connection.set_busy_timeout(0)
            self._reader = Reader(self._connection)
        return self._reader

    def _candidates(self, query: CompiledQuery, reader: Reader) -> Sequence[Candidate] | None:
        """All facts that can match, in order, from one snapshot; None where they may be many or large."""
        alternatives = list(_alternatives(query))
        if len(alternatives) > _MAX_LOOKUPS:
            return None
        overflows = self._overflows()
        also = f" OR {OVERFLOW}" if overflows else ""
        facts: dict[int, Candidate] = {}
        # One alternative is answered by one statement, which sees the log at one moment by itself.
        with reader.snapshot() if len(alternatives) > 1 else nullcontext():
            for terms in alternatives:
                few = self._few_facts(islice(terms, _MAX_LOOKUPS // len(alternatives)), reader, also)
                if few is None:
                    return None
                facts.update((fact.sequence_number, fact) for fact in few)
        # The first such fact may have been committed meanwhile, and is then in the snapshot unseen.
        if self._overflows() is not overflows or not _is_little(query, facts.values()):
            return None
        return [facts[number] for number in sorted(facts)]

    def _few_facts(self, terms: Iterable[str], reader: Reader, also: str) -> list[Candidate] | None:
        """Those that hold the first of the terms that few facts hold, and those that overflow. Where too many of these
        are, all terms pass for common.
        """
        for term in terms:
            if term in self._common:
                continue
            facts = reader.few_facts(f'"{term}"{also}', FEW_FACTS, _MAX_BYTES)
            if facts is not None:
                return facts
            if len(self._common) >= _MAX_KNOWN_TERMS:
                self._common.clear()
            self._common.add(term)
        return None


def _is_little(query: CompiledQuery, facts: Collection[Candidate]) -> bool:
    """Whether it takes little to read the facts and to compare them with the query."""
    return (
        sum(len(fact.record) for fact in facts) <= _MAX_BYTES
        and sum(query.steps(fact.payload_size) for fact in facts) <= _MAX_STEPS
    )


def _alternatives(query: CompiledQuery) -> Iterable[Sequence[str]]:
    """Of each, the terms that all of its facts hold but for those that overflow; together they hold all of the query's.

    Where there are several event types, any of them would do, and none of them must.
    """
    for wanted in query.terms:
        types = wanted.event_types or ()
        if wanted.predicates is None:
            yield from ((term,) for term in types)
        elif len(types) == 1:
            yield from ((*terms, *types) for terms in wanted.predicates)
        else:
            yield from wanted.predicates


def _pages(query: CompiledQuery, window: Window, candidates: Sequence[Candidate]) -> tuple[Page, Page]:
    """The newest fact of the context, and the window's first page. The candidates are in order."""
    begin = bisect_right(candidates, window.after, key=_SEQUENCE_NUMBER)
    end = bisect_left(candidates, window.before, key=_SEQUENCE_NUMBER)
    in_window = candidates[begin:end]
    page = fill_page(query, window, in_window[::-1] if window.descending else in_window)
    if holds_whole_context(window, page):
        return page, page
    return fill_page(query, Window(descending=True, max_facts=1), candidates[::-1]), page
