"""Which appends of a group are committed, and which cursors move: the decision that every store shares.

A store supplies what is already in the log (versions, keys); the group's own earlier appends are kept here, in memory,
so that each append sees those before it and the store is written once, afterwards.
"""

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Final, NamedTuple, Protocol

from factstr_server.contract.append import Condition, PreparedAppend
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores.fact_index import FactIndex
from factstr_server.stores.protocol import (
    Advance,
    Advanced,
    AdvanceOutcome,
    AppendOutcome,
    Committed,
    Conflict,
    KeyReused,
    LeaseOver,
    Outcome,
    Repeated,
    Undecided,
)
from factstr_server.stores.stream_protocol import CursorState, PositionAhead, StreamNotFound


class MovedCursor(NamedTuple):
    """A durable stream's new cursor, and whether a consumer acknowledged its way there."""

    cursor: int
    acknowledged: bool


class LongSearch(Exception):
    """Too many candidates do not match: the version cannot be told quickly."""


MAX_SEARCH_STEPS: Final = 500_000
"""Of a group's conditions together (`CompiledQuery.steps`): a tenth of a second, for which everybody in it waits."""

_MAX_SEARCH_SECONDS: Final = 0.1

_FREE_STEPS: Final = 1_000
"""Of each condition: most take fewer, and are decided whatever the others have spent."""


class Searching:
    """What a group may still spend on comparing facts with its conditions."""

    def __init__(self) -> None:
        self._free_steps_left = 0
        self._steps_left = MAX_SEARCH_STEPS
        self._deadline: float | None = None

    def begin_condition(self) -> None:
        self._free_steps_left = _FREE_STEPS

    def before_match(self, steps: int) -> None:
        """Raises LongSearch where so many steps more would take too long."""
        if steps <= self._free_steps_left:
            self._free_steps_left -= steps
            return
        self._steps_left -= steps
        now = monotonic()
        if self._deadline is None:
            self._deadline = now + _MAX_SEARCH_SECONDS
        if self._steps_left < 0 or now > self._deadline:
            raise LongSearch


class KnownLog(Protocol):
    """What was committed before the group."""

    @property
    def head_now(self) -> int:
        """The highest sequence number committed before the group."""

    def version(self, query: CompiledQuery, after: int, searching: Searching | None) -> int | None:
        """The highest sequence number above `after` that matches, or None. Raises LongSearch where the search has
        bounds.
        """

    def matches(self, query: CompiledQuery, sequence_number: int, searching: Searching) -> bool:
        """Whether the fact of this number, which exists, matches. Raises LongSearch."""


def moved_streams(group: Sequence[PreparedAppend | Advance]) -> set[str]:
    """The durable streams whose cursors a group would move."""
    return {item.durable_stream for item in group if isinstance(item, Advance)}


class GroupDecision:
    """Decides a group, append by append, and keeps what is to be written."""

    def __init__(
        self,
        log: KnownLog,
        keys: Mapping[str, tuple[bytes, Committed]],
        cursors: Mapping[str, CursorState],
        occurred_at: int,
    ) -> None:
        """`keys` and `cursors` hold what is known of those that the group names."""
        self._log = log
        self._keys = dict(keys)
        self._cursors = dict(cursors)
        self.occurred_at = occurred_at
        self.accepted = FactIndex(log.head_now)
        self.batches: list[Committed] = []
        self.new_keys: list[tuple[str, bytes, Committed]] = []
        self.moved_cursors: dict[str, MovedCursor] = {}
        self._searching = Searching()
        self._halted: set[int] = set()
        """Pipelines of which an append is undecided."""

    def decide_all(self, group: Sequence[PreparedAppend | Advance]) -> list[Outcome]:
        return [
            self._decide_append(item) if isinstance(item, PreparedAppend) else self._decide_advance(item)
            for item in group
        ]

    def _decide_append(self, append: PreparedAppend) -> AppendOutcome:
        if append.pipeline and append.pipeline in self._halted:
            return Undecided()
        if append.idempotency and (known := self._keys.get(append.idempotency.key)):
            fingerprint, first = known
            if fingerprint == append.idempotency.fingerprint:
                return Repeated(first)
            return KeyReused(append.idempotency.key)
        if append.condition:
            try:
                conflict = self._conflict(append.condition)
            except LongSearch:
                if append.pipeline:
                    self._halted.add(append.pipeline)
                return Undecided()
            if conflict:
                return conflict
        first_sequence_number = self.accepted.head + 1
        self.accepted.add_all(append.events)
        committed = Committed(first_sequence_number, self.accepted.head, self.occurred_at)
        self.batches.append(committed)
        if append.idempotency:
            key, fingerprint = append.idempotency
            self._keys[key] = (fingerprint, committed)
            self.new_keys.append((key, fingerprint, committed))
        return committed

    def _conflict(self, condition: Condition) -> Conflict | None:
        """None when the context's version is the expected one. Looks after the expected version first, where there
        are few facts or none, and at the expected fact itself; only a conflict asks the whole context.
        """
        query, expected, looked_up = condition
        self._searching.begin_condition()
        wanted = expected or 0
        newer = self.accepted.version(query, 0, None if looked_up else self._searching.before_match)
        if newer is None and wanted <= self._log.head_now:
            newer = self._version(condition, wanted)
            if newer is None and (not wanted or self._is_of_context(condition, wanted)):
                return None
        if newer is not None and newer == wanted:
            return None
        actual = newer if newer is not None else self._version(condition, 0)
        return Conflict(expected, actual)

    def _version(self, condition: Condition, after: int) -> int | None:
        """The context's version before the group, where it is above `after`."""
        query, _, looked_up = condition
        if looked_up is None:
            return self._log.version(query, after, self._searching)
        version = self._log.version(query, max(after, looked_up.head), None)
        if version is None and looked_up.version is not None and looked_up.version > after:
            return looked_up.version
        return version

    def _is_of_context(self, condition: Condition, wanted: int) -> bool:
        """Whether the fact of this number, after which none matches, does."""
        query, _, looked_up = condition
        if looked_up is not None and wanted <= looked_up.head:
            return looked_up.version == wanted
        return self._log.matches(query, wanted, self._searching)

    def _decide_advance(self, advance: Advance) -> AdvanceOutcome:
        """A token of this epoch was made for a delivered batch, so its cursor is within the log, unless a restore cut
        the log and made epochs repeat.
        """
        name, lease_epoch, wanted, acknowledged = advance
        known = self._cursors.get(name)
        if known is None:
            return StreamNotFound(name)
        if known.lease_epoch != lease_epoch:
            return LeaseOver(name, lease_epoch)
        if wanted > self.accepted.head:
            return PositionAhead(wanted, self.accepted.head)
        if wanted > known.cursor:
            self._cursors[name] = CursorState(lease_epoch, wanted)
            before = self.moved_cursors.get(name)
            self.moved_cursors[name] = MovedCursor(
                wanted, acknowledged or (before is not None and before.acknowledged)
            )
        return Advanced(max(wanted, known.cursor))
