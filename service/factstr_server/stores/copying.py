"""Copies of whole stores, offline and exact: the way across, and the comparison at its end.

Invariants:
- The source is only read. Nobody uses either store meanwhile, as far as that can be known.
- From before the first write until the comparison has found both stores equal, the target is marked as unfinished in a
  way that no server and no second copy overlooks, whenever and however the copy ends.
- Facts go in pages of whole batches, two or three pages in memory at a time. A batch has a bound (`contract.limits`).
- What can be derived from records is derived anew (index terms, framing) and never taken from the source; where the
  source has it too, it must be the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from factstr_server.contract.append import committed_event
from factstr_server.contract.batch_frame import openings
from factstr_server.contract.record import read_varint
from factstr_server.stores.copy_protocol import Contents, CopiedFact, CopySource, CopyTarget, ReadStore
from factstr_server.stores.protocol import StoreError


class Copied(NamedTuple):
    """What a copy holds."""

    facts: int
    batches: int
    keys: int
    durable_streams: int


class UnfinishedCopy(StoreError):
    """The copy ended early, and the target is marked."""


Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how many facts are done, and of how many."""

T = TypeVar("T")


async def copy_store(source: CopySource, target: CopyTarget, progress: Progress) -> Copied:
    """Copies and compares. Raises StoreError; UnfinishedCopy, also when it is cancelled, once the target is marked."""
    if source.place == target.place:
        raise StoreError(f"{source.name} cannot be copied to itself; name another store to copy to")
    try:
        await source.open()
        await target.open()
        contents = await source.contents()
        await target.begin()
        try:
            copied = await _write(source, target, contents, progress)
            await _compare(source, target, progress)
            await source.check_unused()
            await target.check_unused()
            await _to_its_end(target.finish())
        except (StoreError, asyncio.CancelledError) as error:
            raise UnfinishedCopy(
                f"{str(error) or 'interrupted'}; {target.name} holds an unfinished copy now, which no server opens: "
                f"{target.remedy}, and copy again"
            ) from error
        return copied
    finally:
        await source.close()
        await target.close()


async def _to_its_end(last_step: Coroutine[None, None, None]) -> None:
    """Too late to be interrupted: nobody could say what it came to."""
    step = asyncio.create_task(last_step)
    try:
        await asyncio.shield(step)
    except asyncio.CancelledError:
        await step


async def _write(source: CopySource, target: CopyTarget, contents: Contents, progress: Progress) -> Copied:
    batches = Batches(source, earlier_format=True)
    newest: CopiedFact | None = None
    progress("copying", 0, contents.head)
    pages = _EncodedAhead(batches)
    try:
        while (page := await pages.next())[0]:
            await target.write_facts(*page)
            newest = page[0][-1]
            progress("copying", newest.sequence_number, contents.head)
    finally:
        await pages.close()
    keys = _Pages(source.keys_after, 0, lambda key: key.first_sequence_number)
    while found := await keys.next():
        await target.write_keys(found)
    streams = _Pages(source.streams_after, "", lambda stream: stream.durable_stream)
    while some := await streams.next():
        await target.write_streams(some)
    read = (batches.head, batches.larger, keys.count, streams.count)
    if read != contents[1:]:
        raise StoreError(
            f"{source.name} is damaged, or was changed meanwhile: it says that it holds {contents[1:]} (head, batches "
            f"of more than one fact, keys, durable streams), and {read} were found"
        )
    await target.write_identity(contents.identity, newest)
    return Copied(batches.head, batches.count, keys.count, streams.count)


def _terms(facts: Sequence[CopiedFact], store: str) -> list[str]:
    """The index terms of each fact, after comparing what stands beside its record with what the record says."""
    terms = []
    for fact in facts:
        try:
            number, _ = read_varint(fact.record, 1)
            occurred_at, event = committed_event(fact.record)
        except (ValueError, IndexError):
            raise _damaged(store, fact, "its record cannot be read") from None
        said = (number, occurred_at, event.event_type, event.payload_size)
        if said != (fact.sequence_number, fact.occurred_at, fact.event_type, fact.payload_size):
            raise _damaged(store, fact, "its record says otherwise than what stands beside it")
        terms.append(event.terms)
    return terms


class Batches:
    """A store's facts in pages of whole batches, framed."""

    def __init__(self, store: ReadStore, *, earlier_format: bool) -> None:
        """Records of an earlier format are framed, or not taken."""
        self.store = store
        self._earlier_format = earlier_format
        self._begun: list[CopiedFact] = []
        """Of a batch whose end has not been read."""
        self._read = 0
        self.head = 0
        self.count = 0
        self.larger = 0

    async def next(self) -> list[CopiedFact]:
        """Empty at the end."""
        while page := await self.store.facts_after(self._read):
            for fact in page:
                self._read += 1
                if fact.sequence_number != self._read:
                    raise StoreError(f"{self.store.name} is damaged: it has no fact {self._read}")
            whole = self._whole(self._begun + page)
            if whole:
                self.head = whole[-1].sequence_number
                return whole
        if self._begun:
            raise _damaged(self.store.name, self._begun[0], "the batch that it begins has no end")
        return []

    def _whole(self, facts: list[CopiedFact]) -> list[CopiedFact]:
        """The whole batches; what follows them is kept."""
        whole: list[CopiedFact] = []
        at = 0
        while at < len(facts):
            first = facts[at]
            end = at + 1 if first.batch_last is None else at + first.batch_last - first.sequence_number + 1
            if end > len(facts):
                break
            batch = facts[at:end]
            frame = openings(first.sequence_number, batch[-1].sequence_number, [len(f.record) for f in batch])
            if [fact.opening for fact in batch] != frame:
                batch = [self._framed(fact, opening) for fact, opening in zip(batch, frame, strict=True)]
            if any(fact.batch_last is not None for fact in batch[1:]):
                raise _damaged(self.store.name, first, "the batch that it begins is not the only one here")
            whole += batch
            self.count += 1
            self.larger += first.batch_last is not None
            at = end
        self._begun = facts[at:]
        return whole

    def _framed(self, fact: CopiedFact, opening: bytes) -> CopiedFact:
        if fact.opening == opening:
            return fact
        if fact.opening or not self._earlier_format:
            raise _damaged(self.store.name, fact, "it is framed for another batch")
        return fact._replace(opening=opening)


class _Pages(Generic[T]):
    """What a store gives page by page, each after the last of the one before."""

    def __init__(
        self, read: Callable[..., Awaitable[list[T]]], after: int | str, position: Callable[[T], int | str]
    ) -> None:
        self._read = read
        self._after = after
        self._position = position
        self.count = 0

    async def next(self) -> list[T]:
        page = await self._read(self._after)
        if page:
            self._after = self._position(page[-1])
            self.count += len(page)
        return page


class _EncodedAhead:
    """Pages of facts and their terms; the next one is read and encoded while the last one is written."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._reading: asyncio.Task[tuple[list[CopiedFact], list[str]]] | None = None

    async def next(self) -> tuple[list[CopiedFact], list[str]]:
        """Empty at the end, after which nothing is read any more."""
        page = await (self._reading or self._read())
        self._reading = asyncio.create_task(self._read()) if page[0] else None
        return page

    async def close(self) -> None:
        """Returns when nothing reads any more."""
        if self._reading:
            self._reading.cancel()
            with suppress(asyncio.CancelledError, StoreError):
                await self._reading

    async def _read(self) -> tuple[list[CopiedFact], list[str]]:
        facts = await self._batches.next()
        return facts, await asyncio.to_thread(_terms, facts, self._batches.store.name)


async def _compare(source: CopySource, target: CopyTarget, progress: Progress) -> None:
    """Reads both stores anew and completely. Raises StoreError for the first difference."""
    ours, theirs = await source.contents(), await target.contents()
    if ours != theirs:
        raise _differ(source, target, "as a whole", ours, theirs)
    progress("comparing", 0, ours.head)
    await _equal(
        (source, Batches(source, earlier_format=True)),
        (target, Batches(target, earlier_format=False)),
        lambda fact: f"in fact {fact.sequence_number}",
        lambda fact: progress("comparing", fact.sequence_number, ours.head),
    )
    await _equal(
        (source, _Pages(source.keys_after, 0, lambda key: key.first_sequence_number)),
        (target, _Pages(target.keys_after, 0, lambda key: key.first_sequence_number)),
        lambda key: f"in the idempotency key of fact {key.first_sequence_number}",
    )
    await _equal(
        (source, _Pages(source.streams_after, "", lambda stream: stream.durable_stream)),
        (target, _Pages(target.streams_after, "", lambda stream: stream.durable_stream)),
        lambda stream: f"in the durable stream {stream.durable_stream!r}",
    )


class _Paged(Protocol[T]):
    async def next(self) -> list[T]: ...


Row = TypeVar("Row", bound=tuple[object, ...])


async def _equal(
    ours: tuple[CopySource, _Paged[Row]],
    theirs: tuple[CopyTarget, _Paged[Row]],
    where: Callable[[Row], str],
    equal_up_to: Callable[[Row], None] = lambda _: None,
) -> None:
    """The stores' pages need not end at the same places."""
    our_rest: list[Row] = []
    their_rest: list[Row] = []
    while True:
        if not our_rest:
            our_rest = await ours[1].next()
        if not their_rest:
            their_rest = await theirs[1].next()
        count = min(len(our_rest), len(their_rest))
        if our_rest[:count] != their_rest[:count]:
            one, other = next(pair for pair in zip(our_rest, their_rest, strict=False) if pair[0] != pair[1])
            raise _differ(ours[0], theirs[0], where(one), one, other)
        if not count:
            break
        equal_up_to(our_rest[count - 1])
        our_rest, their_rest = our_rest[count:], their_rest[count:]
    for more in (our_rest or their_rest)[:1]:
        raise StoreError(f"{source_and_target(ours[0], theirs[0])} differ {where(more)}: only one has it")


def source_and_target(source: CopySource, target: CopyTarget) -> str:
    return f"{source.name} and {target.name}"


def _differ(
    source: CopySource,
    target: CopyTarget,
    where: str,
    one: tuple[object, ...],
    other: tuple[object, ...],
) -> StoreError:
    names: tuple[str, ...] = getattr(one, "_fields", ())
    different = [name for name, mine, yours in zip(names, one, other, strict=True) if mine != yours]
    return StoreError(f"{source_and_target(source, target)} differ {where}: {', '.join(different)}")


def _damaged(store: str, fact: CopiedFact, problem: str) -> StoreError:
    return StoreError(
        f"{store} is damaged at fact {fact.sequence_number}: {problem}; restore it from a backup"
    )
