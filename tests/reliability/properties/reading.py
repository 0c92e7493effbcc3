"""An open stream of one store beside the list: what comes next, and that nothing else does."""

from collections.abc import Callable

from tests.conformance.facts import Fact, Query
from tests.conformance.streams import Batch, CaughtUp, Checkpoint, Stream
from tests.stores.list_log import ListLog

Check = Callable[[Fact], None]
"""That a fact is what was appended under its number."""


class Reading:
    """Every item is checked as it comes."""

    def __init__(self, log: ListLog, check: Check, query: Query, stream: Stream, position: int) -> None:
        self._log = log
        self._check = check
        self.query = query
        self.stream = stream
        self.position = position
        """Up to where it has delivered."""

    async def batches(self, count: int) -> list[Batch]:
        """The next ones, as many as there are."""
        return [await self._batch() for _ in self._log.to_come(self.query, self.position)[:count]]

    async def to_the_head(self) -> None:
        """Until it says that it is at the head, and so that nothing else comes before it."""
        while self._said(await self.stream.next()) < self._log.head:
            pass

    async def _batch(self) -> Batch:
        expected = self._log.to_come(self.query, self.position)[0]
        while not isinstance(item := await self.stream.next(), Batch):
            self._said(item)
        assert item.shape == expected, f"batch {item.shape} instead of {expected}"
        for fact in item.facts:
            self._check(fact)
        self.position = item.last
        return item

    def _said(self, item: object) -> int:
        """A position that everything that matches was delivered up to."""
        assert isinstance(item, CaughtUp | Checkpoint), f"{item} where nothing was to come"
        [said] = item
        assert said <= self._log.head, f"{item} beyond the head"
        to_come = self._log.to_come(self.query, self.position)
        assert not to_come or said < to_come[0].numbers[0], f"{item} before {to_come[0]}"
        return said
