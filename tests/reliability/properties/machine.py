"""Every store beside a plain list: hypothesis draws what is done, and all of them must answer as the list does."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.conformance.direct import Direct
from tests.conformance.driver import Driver, NewFact, Options, Query
from tests.conformance.matrix import STORES
from tests.conformance.streams import Start
from tests.conformance.wire import Wire
from tests.reliability.properties.consuming import Consuming
from tests.reliability.properties.drawn import (
    HEAD,
    RIGHT,
    batches,
    counts,
    indexes,
    keys,
    mostly,
    nothing,
    odd_positions,
    positions,
    queries,
    starts,
    versions,
    windows,
)
from tests.reliability.properties.side import Side
from tests.stores.list_log import ListLog, Request, key_requests

Do = TypeVar("Do", bound=Callable[..., None])

_HEARTBEAT: Final = timedelta(milliseconds=100)
"""After which a silent stream says where it is."""
_MOST_LIVE: Final = 3


def is_active(stream: Consuming) -> bool:
    return stream.active


def has_tokens(stream: Consuming) -> bool:
    return bool(stream.tokens)


def some(which: Callable[[Consuming], bool]) -> "Callable[[EveryStore], bool]":
    return lambda machine: any(map(which, machine.known.durable.values()))


class Action(NamedTuple):
    """Something to do, `weight` times as often as other things where it makes sense."""

    do: Callable[..., None]
    weight: int
    when: "Callable[[EveryStore], bool]"
    arguments: st.SearchStrategy[dict[str, Any]]

    def __repr__(self) -> str:
        return self.do.__name__


_ACTIONS: Final[list[Action]] = []


def action(
    weight: int, when: "Callable[[EveryStore], bool]" = lambda _: True, **arguments: st.SearchStrategy[Any]
) -> Callable[[Do], Do]:
    """Not hypothesis's rules: of those whole kinds are left out of each history, and what is left is seldom a story."""

    def registered(do: Do) -> Do:
        _ACTIONS.append(Action(do, weight, when, st.fixed_dictionaries(arguments)))
        return do

    return registered


class EveryStore(RuleBasedStateMachine):
    """One history on every store. Nothing goes on while something is drawn: hypothesis watches over what is random."""

    def __init__(
        self, runner: asyncio.Runner, folder: Path, tally: Counter[str], failed: Callable[[str], None]
    ) -> None:
        super().__init__()
        self._runner = runner
        self._folder = folder
        self.tally = tally
        """What was done, on each store."""
        self._failed = failed
        """Is told of what failed and after which steps: when they are done again it may not fail any more."""
        self._steps: list[str] = []
        self.log = ListLog()
        self.sides: dict[str, Side] = {}

    def everywhere(self, work: Callable[[Side], Awaitable[object]]) -> None:
        """The same on every store at once."""

        async def together() -> None:
            results = await asyncio.gather(*map(work, self.sides.values()), return_exceptions=True)
            for name, result in zip(self.sides, results, strict=True):
                if isinstance(result, BaseException):
                    result.add_note(f"on {name}")
                    self._failed("\n".join((f"{result!r} on {name}, after", *self._steps)))
                    raise result

        self._runner.run(together())

    @property
    def known(self) -> Side:
        """One of them: what is known of a stream, but for its cursor, is the same on all."""
        return next(iter(self.sides.values()))

    @initialize(
        routes=st.tuples(*(st.sampled_from((Direct, Wire)) for _ in STORES)),
        stock=st.lists(batches, max_size=6),
    )
    def open(self, routes: Sequence[type[Driver]], stock: list[tuple[NewFact, ...]]) -> None:
        self.tally["histories"] += 1
        for kind, route in zip(STORES, routes, strict=True):
            store = route(kind.url(self._folder), Options(heartbeat_interval=_HEARTBEAT))
            self.sides[f"{kind.name}, {route.__name__}"] = Side(store, self.log, persists=kind.persists)
        self.everywhere(lambda side: side.store.start())
        for batch in stock:
            self.append(batch, "")

    def teardown(self) -> None:
        self.everywhere(Side.stop)

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        possible = [each for each in _ACTIONS for _ in range(each.weight) if each.when(self)]
        self.tally["steps"] += 1
        chosen = data.draw(st.sampled_from(possible))
        arguments = data.draw(chosen.arguments)
        self._steps.append(f"{chosen} {arguments}")
        chosen.do(self, **arguments)

    # Appends.

    def play(self, *requests: Request) -> None:
        expected = [self.log.append(request) for request in requests]
        self.tally["appends"] += len(requests)
        self.tally["conflicts"] += sum(each.refusal == "CONDITIONAL_APPEND_CONFLICT" for each in expected)
        self.tally["repeats"] += sum(each.repeated for each in expected)
        self.everywhere(lambda side: side.append(requests, expected))

    @action(3, batch=batches, key=keys)
    def append(self, batch: tuple[NewFact, ...], key: str) -> None:
        self.play(Request(batch, key=key))

    @action(4, batch=batches, context=queries, expected=versions, key=keys)
    def append_if(self, batch: tuple[NewFact, ...], context: Query, expected: int | None, key: str) -> None:
        if expected == RIGHT:
            expected = self.log.version(context)
        elif expected == HEAD:
            expected = self.log.head
        self.play(Request(batch, context, expected, key))

    @action(2, when=lambda self: bool(key_requests(self.log)), index=indexes)
    def repeat_an_append_with_its_key(self, index: int) -> None:
        known = key_requests(self.log)
        self.play(known[index % len(known)])

    @action(
        2,
        requests=st.lists(
            st.builds(Request, mostly(batches, nothing), st.none() | queries, odd_positions, keys),
            min_size=1,
            max_size=6,
        ),
    )
    def append_several_at_once(self, requests: list[Request]) -> None:
        self.play(*requests)

    # Reads.

    @action(
        3,
        query=queries,
        limit=st.none() | st.integers(0, 8) | st.just(2**64 - 1),
        before=odd_positions,
        descending=st.booleans(),
    )
    def query(self, query: Query, limit: int | None, before: int | None, descending: bool) -> None:
        self.tally["queries"] += 1
        self.everywhere(lambda side: side.query(query, limit, before, descending=descending))

    @action(1, batch=indexes, microseconds=st.integers(-1, 1))
    def ask_for_a_position_in_time(self, batch: int, microseconds: int) -> None:
        self.everywhere(lambda side: side.ask_for_moment(batch, microseconds))

    # Live streams.

    @action(2, when=lambda self: len(self.known.live) < _MOST_LIVE, query=queries, after=odd_positions)
    def follow(self, query: Query, after: int | None) -> None:
        self.tally["live streams"] += 1
        self.everywhere(lambda side: side.open_live(query, after))

    @action(6, when=lambda self: bool(self.known.live), index=indexes, count=st.none() | counts)
    def read(self, index: int, count: int | None) -> None:
        self.tally["batches delivered"] -= self.known.delivered
        self.everywhere(lambda side: side.read_live(index, count))
        self.tally["batches delivered"] += self.known.delivered

    @action(1, when=lambda self: bool(self.known.live), index=indexes)
    def leave(self, index: int) -> None:
        self.everywhere(lambda side: side.close_live(index))

    # Durable streams.

    def durably(
        self,
        index: int,
        work: Callable[[Consuming], Awaitable[object]],
        which: Callable[[Consuming], bool] = lambda _: True,
    ) -> None:
        """One of those of a kind."""
        possible = [name for name, stream in self.known.durable.items() if which(stream)]
        name = possible[index % len(possible)]
        self.everywhere(lambda side: work(side.durable[name]))

    @action(6, index=indexes, query=st.none() | queries, window=windows, start=starts)
    def consume(self, index: int, query: Query | None, window: int, start: Start) -> None:
        """With the query that the name is bound to, or with another one."""
        self.tally["durable streams"] += 1
        self.durably(index, lambda stream: stream.open(query, window, start))

    @action(10, when=some(is_active), index=indexes, count=counts)
    def deliver(self, index: int, count: int) -> None:
        self.tally["batches delivered"] -= self.known.delivered
        self.durably(index, lambda stream: stream.deliver(count), is_active)
        self.tally["batches delivered"] += self.known.delivered

    @action(8, when=some(has_tokens), index=indexes, token=indexes)
    def acknowledge(self, index: int, token: int) -> None:
        """In any order and again, also when the consumer has gone."""
        self.tally["acknowledgements"] += 1
        self.durably(index, lambda stream: stream.acknowledge(token), has_tokens)

    @action(1, index=indexes, token=indexes)
    def acknowledge_in_vain(self, index: int, token: int) -> None:
        """With tokens of a lease that is over, and of another stream."""
        self.durably(index, lambda stream: stream.acknowledge_what_was_lost(token))
        self.durably(index, Consuming.acknowledge_another)

    @action(2, index=indexes)
    def look(self, index: int) -> None:
        self.durably(index, Consuming.look)
        self.everywhere(Side.list_names)

    @action(2, when=some(is_active), index=indexes)
    def pass_over_what_does_not_match(self, index: int) -> None:
        self.durably(index, Consuming.pass_over, is_active)

    @action(2, when=some(is_active), index=indexes, another=st.none() | windows)
    def end_consumer(self, index: int, another: int | None) -> None:
        """While another one waits with its window, or nobody."""
        if another:
            self.durably(index, lambda stream: stream.hand_over(another), is_active)
        else:
            self.durably(index, Consuming.close, is_active)

    @action(3, index=indexes, cursor=mostly(positions, st.none()), force=st.booleans())
    def reset_or_delete(self, index: int, cursor: int | None, force: bool) -> None:
        if cursor is None:
            self.durably(index, lambda stream: stream.delete(force=force))
        else:
            self.durably(index, lambda stream: stream.reset(cursor, force=force))

    @action(
        1,
    )
    def restart(self) -> None:
        self.tally["restarts"] += 1
        self.everywhere(Side.restart)
