"""The newest facts in memory answer as the whole log would, as far back as they reach."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factstr_server.contract.append import EncodedEvent
from factstr_server.contract.query import CompiledQuery
from factstr_server.stores import recent_facts
from factstr_server.stores.recent_facts import RecentFacts
from tests.conformance.driver import EVERYTHING, NewFact, of_type, where
from tests.stores.opened import compiled, prepared

QUERIES = (of_type("a"), of_type("a", "b"), where('{"n":1}'), where('{"n":2}', '{"n":3}'), EVERYTHING)
FACTS = st.builds(lambda kind, n: NewFact(kind, f'{{"n":{n}}}'), st.sampled_from("abc"), st.integers(0, 4))


def encoded(facts: list[NewFact]) -> tuple[EncodedEvent, ...]:
    return prepared(facts).events


def matches(query: CompiledQuery, event: EncodedEvent) -> bool:
    return query.matches(event.event_type, lambda: event.payload)


@settings(deadline=None)
@given(st.integers(0, 5), st.lists(st.lists(FACTS, min_size=1, max_size=5), max_size=8), st.data())
def test_versions_and_matches_are_those_of_the_log(
    before: int, commits: list[list[NewFact]], data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_facts, "MAX_GENERATION_FACTS", 6)
        recent = RecentFacts(before)
        log: dict[int, EncodedEvent] = {}
        for facts in commits:
            events = encoded(facts)
            log.update(enumerate(events, before + len(log) + 1))
            recent.add(events)
        head = before + len(log)
        query = compiled(data.draw(st.sampled_from(QUERIES)))
        matching = [number for number, event in log.items() if matches(query, event)]
        after = data.draw(st.integers(recent.base, head))
        assert recent.version(query, after, None) == max((n for n in matching if n > after), default=None)
        for number in range(recent.base + 1, head + 1):
            assert recent.matches(query, number, lambda _: None) == (number in matching)


def test_what_is_kept_is_bounded_in_facts_and_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent_facts, "MAX_GENERATION_FACTS", 10)
    monkeypatch.setattr(recent_facts, "MAX_GENERATION_BYTES", 1_000)
    recent = RecentFacts(0)
    for number in range(1, 101):
        recent.add(encoded([NewFact()]))
        assert number - recent.base <= 20
    assert recent.base == 90
    recent.add(encoded([NewFact("large", '"' + "x" * 1_000 + '"')]))
    recent.add(encoded([NewFact("large", '"' + "x" * 1_000 + '"')]))
    assert recent.base == 101
