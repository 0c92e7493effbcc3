"""Every store beside a plain list: the same history is played to all of them, and everything is compared.

Histories are hypothesis's: appends with and without keys and conditions, right and wrong ones, repeats, groups of
concurrent appends, queries in all forms, restarts.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.conformance.direct import Direct
from tests.conformance.driver import Answer, Driver, Failure, Filter, NewFact, Options, Query
from tests.conformance.matrix import STORES
from tests.stores.list_log import Expected, ListLog, Request, key_requests

T = TypeVar("T")

TYPES = ("placed", "paid", "shipped")
PAYLOADS = (
    *("{}", "[]", "null", "true", "1", "1.0", '"1"', "9007199254740993", "0.1", "1e0"),
    *('{"id":1}', '{"id":1.0,"x":[]}', '{"id":2}', '{"id":"1"}', '{"id":null}', '{"id":1,"id":2}'),
    *('{"id":1,"rows":[{"x":1,"y":2},{"x":2,"y":1}]}', '{"rows":[{"x":1,"y":1}]}', '{"rows":[1,[2,[3]]]}'),
    '{"id":3,' + ",".join(f'"k{i}":{i}' for i in range(2_000)) + "}",
)
PREDICATES = (
    *(
        "{}",
        "[]",
        "null",
        "true",
        "1",
        '"1"',
        "9007199254740992",
        "0.1",
        '{"id":1}',
        '{"id":2}',
        '{"id":"1"}',
    ),
    *(
        '{"id":null}',
        '{"rows":[]}',
        '{"rows":[{"x":1}]}',
        '{"rows":[{"x":1,"y":1}]}',
        '{"rows":[[[3]]]}',
        '{"x":[]}',
    ),
    *('{"id":1,"rows":[{"y":2}]}', '{"k7":7}', '{"k7":8}', '{"id":3,"k1999":1999}'),
)

facts = st.builds(
    NewFact,
    st.sampled_from(TYPES),
    st.sampled_from(PAYLOADS),
    st.sampled_from([{}, {"source": "web"}, {"a": "", "b": "é"}]),
)
batches = st.lists(facts, min_size=1, max_size=3).map(tuple)
filters = st.builds(
    Filter,
    st.none() | st.lists(st.sampled_from((*TYPES, "other")), max_size=2).map(tuple),
    st.none() | st.lists(st.sampled_from(PREDICATES), max_size=2).map(tuple),
)
positions = st.none() | st.integers(0, 40) | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1])
queries = st.builds(Query, st.lists(filters, max_size=2).map(tuple), positions)
keys = st.sampled_from(["", "", "k1", "k2", "k3", "k4"])


class Outcome(NamedTuple):
    """What a store made of an append, without what only it can know."""

    expected: Expected
    occurred_at: int = 0


async def outcome(store: Driver, request: Request) -> Outcome:
    try:
        answer = await request.sent_to(store)
    except Failure as failure:
        return Outcome(Expected(refusal=failure.reason, actual=failure.actual))
    return Outcome(Expected(answer.first, answer.last, answer.repeated), answer.occurred_at)


class SideBySide(RuleBasedStateMachine):
    """The list, and each store directly."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="side-by-side-"))
        self.stores: dict[str, Driver] = {
            kind.name: Direct(kind.url(self.folder), Options()) for kind in STORES
        }
        self.times: dict[str, list[int]] = {name: [] for name in self.stores}
        """occurred_at of each batch, by store."""
        self.list_log = ListLog()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    @initialize()
    def open(self) -> None:
        for store in self.stores.values():
            self.run(store.start())

    def teardown(self) -> None:
        for store in self.stores.values():
            self.run(store.stop())
        self.runner.close()
        shutil.rmtree(self.folder)

    def play(self, request: Request) -> None:
        """The same append to the list and to every store."""
        expected = self.list_log.append(request)
        for name, store in self.stores.items():
            got = self.run(outcome(store, request))
            assert got.expected == expected, name
            self.remember_time(name, got)

    def remember_time(self, name: str, got: Outcome) -> None:
        times = self.times[name]
        if got.expected.repeated:
            assert got.occurred_at == times[self.list_log.batches.index(got.expected.last)]
        elif not got.expected.refusal:
            assert not times or times[-1] <= got.occurred_at
            times.append(got.occurred_at)

    @rule(batch=batches, key=keys)
    def append(self, batch: tuple[NewFact, ...], key: str) -> None:
        self.play(Request(batch, key=key))

    @rule(batch=batches, context=queries, key=keys)
    def append_if_with_the_right_version(self, batch: tuple[NewFact, ...], context: Query, key: str) -> None:
        self.play(Request(batch, context, self.list_log.version(context), key))

    @rule(batch=batches, context=queries, expected=positions, key=keys)
    def append_if_with_any_version(
        self, batch: tuple[NewFact, ...], context: Query, expected: int | None, key: str
    ) -> None:
        self.play(Request(batch, context, expected, key))

    @precondition(lambda self: bool(key_requests(self.list_log)))
    @rule(data=st.data())
    def repeat_an_append_with_its_key(self, data: st.DataObject) -> None:
        self.play(data.draw(st.sampled_from(key_requests(self.list_log))))

    @rule()
    def append_nothing(self) -> None:
        self.play(Request(()))

    @rule(
        requests=st.lists(
            st.builds(Request, batches, st.none() | queries, positions, keys), min_size=2, max_size=6
        )
    )
    def append_several_at_once(self, requests: list[Request]) -> None:
        """Submitted together, in order: the stores decide them as one group, the list one after the other."""
        expected = [self.list_log.append(request) for request in requests]

        async def together(store: Driver) -> list[Outcome]:
            return list(await asyncio.gather(*(outcome(store, request) for request in requests)))

        for name, store in self.stores.items():
            for want, got in zip(expected, self.run(together(store)), strict=True):
                assert got.expected == want, name
                self.remember_time(name, got)

    @rule(
        query=queries,
        limit=st.none() | st.integers(0, 8) | st.just(2**64 - 1),
        before=positions,
        descending=st.booleans(),
    )
    def query(self, query: Query, limit: int | None, before: int | None, descending: bool) -> None:
        expected = self.list_log.query(query, limit, before, descending=descending)
        version = self.list_log.version(query)
        for name, store in self.stores.items():
            answer = self.run(store.query(query, limit=limit, before=before, descending=descending))
            assert answer.numbers == expected, name
            assert answer.last_returned == (expected[-1] if expected else None)
            assert answer.context_version == version, name
            self.check_facts(answer)

    def check_facts(self, answer: Answer) -> None:
        for fact in answer.facts:
            assert fact.appended == self.list_log.facts[fact.sequence_number - 1]

    @rule(data=st.data())
    def ask_for_a_position_in_time(self, data: st.DataObject) -> None:
        for name, store in self.stores.items():
            moment = data.draw(st.sampled_from([0, *self.times[name]])) + data.draw(st.integers(-1, 1))
            batches_until = [
                last
                for last, time in zip(self.list_log.batches, self.times[name], strict=True)
                if time <= moment
            ]
            assert self.run(store.sequence_number_at(moment)) == max(batches_until, default=0)

    @rule()
    def restart_what_persists(self) -> None:
        for kind in STORES:
            if kind.persists:
                self.run(self.stores[kind.name].restart())

    @invariant()
    def the_logs_are_equal(self) -> None:
        for name, store in self.stores.items():
            answer = self.run(store.query())
            assert [fact.appended for fact in answer.facts] == self.list_log.facts, name
            assert answer.context_version == (len(self.list_log.facts) or None)
            assert [answer.facts[last - 1].occurred_at for last in self.list_log.batches] == self.times[name]


TestSideBySide = SideBySide.TestCase
TestSideBySide.settings = settings(max_examples=settings().max_examples * 2 // 5, stateful_step_count=30)
