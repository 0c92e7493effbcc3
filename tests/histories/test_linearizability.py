"""The checker finds each kind of violation, agrees with an exhaustive search on small histories, and is quick."""

import random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.histories.exhaustive import linearizable
from tests.histories.history import Committed, Conflict, Failed, History, LoggedFact, Seen
from tests.histories.linearizability import problems
from tests.histories.mutations import MUTATIONS, Mutation, logged
from tests.histories.simulation import Simulation
from tests.histories.told import appended, appended_if, contradictions, facts, queried

KEYS = ("a", "b", "c")


# What is right.


def test_nothing_is_linearizable(history: History) -> None:
    assert contradictions(history, []) == ""


def test_calls_in_turn_that_tell_the_truth_are_linearizable(history: History) -> None:
    queried(history, None, [])
    appended(history, one := facts("x", "y", keys="ab"), Committed(1, 2, 1))
    appended_if(history, two := facts("z"), 2, Committed(3, 3, 2))
    appended_if(history, facts("never"), 2, Conflict(3))
    appended_if(history, three := facts("first of c", keys="c"), 0, Committed(4, 4, 3), context="c")
    appended(history, facts("refused"), Failed("invalid"))
    queried(history, 3, [1, 2, 3])
    queried(history, 2, [1, 2], context="b")
    queried(history, 0, [], context="nobody's")
    queried(history, 4, [1, 2, 3, 4], context=None)
    assert contradictions(history, logged(one, two, three)) == ""


def test_calls_in_turn_may_see_the_same(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    queried(history, 1, [1])
    queried(history, 1, [1])
    appended_if(history, facts("never"), 0, Conflict(1))
    appended(history, two := facts("y"), Committed(2, 2, 2))
    assert contradictions(history, logged(one, two)) == ""


def test_a_query_may_come_before_or_after_an_append_that_it_overlaps(history: History) -> None:
    early, late = history.query("reader", "a"), history.query("reader", "a")
    append = history.append("writer", batch := facts("x"))
    late.finish(Seen(1, [1]))
    early.finish(Seen(None, []))
    append.finish(Committed(1, 1, 1))
    assert contradictions(history, logged(batch)) == ""


def test_a_conflict_may_speak_of_a_moment_since_its_start_that_has_passed(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    slow = history.append_if("decider", facts("y"), "a", None)
    appended(history, two := facts("z"), Committed(2, 2, 2))
    slow.finish(Conflict(1))
    assert contradictions(history, logged(one, two)) == ""


@pytest.mark.parametrize("happened", [True, False])
def test_an_append_without_an_answer_may_have_happened_or_not(history: History, happened: bool) -> None:
    history.append("writer", unknown := facts("x"))
    appended(history, batch := facts("y"), Committed(2, 2, 2) if happened else Committed(1, 1, 1))
    assert contradictions(history, logged(unknown, batch) if happened else logged(batch)) == ""


def test_an_append_without_an_answer_may_happen_long_after_its_start(history: History) -> None:
    history.append("writer", unknown := facts("x"))
    queried(history, None, [])
    appended(history, batch := facts("y"), Committed(1, 1, 1))
    queried(history, 1, [1])
    assert contradictions(history, logged(batch, unknown)) == ""


# The log by itself, and against what was acknowledged.


def test_a_gap_in_the_numbers_is_found(history: History) -> None:
    appended(history, facts("x"), Committed(1, 1, 1))
    appended(history, facts("y"), Committed(3, 3, 2))
    log = [LoggedFact(1, 1, 1, 1, *facts("x")[0]), LoggedFact(3, 3, 3, 2, *facts("y")[0])]
    assert "the log has fact 3 next after 1" in contradictions(history, log)


def test_a_log_that_does_not_begin_at_1_is_found(history: History) -> None:
    appended(history, facts("x"), Committed(0, 0, 1))
    assert "the log has fact 0 next after 0" in contradictions(
        history, [LoggedFact(0, 0, 0, 1, *facts("x")[0])]
    )


def test_a_log_out_of_order_is_not_held_against_the_calls(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended(history, two := facts("y"), Committed(2, 2, 1))
    queried(history, 2, [1, 2])
    log = [fact._replace(occurred_at=1) for fact in logged(one, two)[::-1]]
    found = contradictions(history, log)
    assert found == "the log has fact 2 next after 0\nthe log has fact 1 next after 2"


def test_an_acknowledged_append_that_was_lost_is_found(history: History) -> None:
    appended(history, facts("lost"), Committed(1, 1, 1))
    appended(history, batch := facts("y"), Committed(1, 1, 1))
    found = contradictions(history, logged(batch))
    assert "of lost -> committed fact 1" in found
    assert "but the log has no such batch" in found


def test_a_lost_tail_that_a_query_has_seen_is_found(history: History) -> None:
    history.append("writer", facts("x"))
    queried(history, 1, [1])
    assert "but the log has no fact 1 in a" in contradictions(history, [])


def test_a_batch_that_is_there_twice_is_found(history: History) -> None:
    appended(history, batch := facts("x", "y"), Committed(1, 2, 1))
    found = contradictions(history, logged(batch, batch))
    assert "but the log has it 2 times: as facts 1 to 2, as facts 3 to 4" in found


def test_an_unanswered_batch_that_is_there_twice_is_found(history: History) -> None:
    history.append("writer", batch := facts("x"))
    assert "-> unknown" in contradictions(history, logged(batch, batch))


def test_a_split_batch_is_found(history: History) -> None:
    batch = facts("x", "y")
    appended(history, batch, Committed(1, 2, 1))
    found = contradictions(history, logged(batch[:1], batch[1:]))
    assert "the log has x as fact 1: not one append, whole and unchanged. Sent by #1 writer" in found


def test_a_batch_with_a_foreign_fact_inside_is_found(history: History) -> None:
    x, y, z = facts("x", "y", "z")
    appended(history, [x, y], Committed(1, 3, 1))
    appended(history, [z], Committed(2, 2, 1))
    log = [LoggedFact(1, 1, 3, 1, *x), LoggedFact(2, 2, 2, 1, *z), LoggedFact(3, 1, 3, 1, *y)]
    assert "the log has [1] as a batch of facts 1 to 3" in contradictions(history, log)


def test_two_batches_in_one_are_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended(history, two := facts("y"), Committed(2, 2, 1))
    assert "the log has x, y as facts 1 to 2: not one append" in contradictions(history, logged(one + two))


def test_a_batch_in_another_order_is_found(history: History) -> None:
    appended(history, batch := facts("x", "y"), Committed(1, 2, 1))
    assert "whole and unchanged" in contradictions(history, logged(batch[::-1]))


def test_an_incomplete_batch_is_found(history: History) -> None:
    appended(history, batch := facts("x", "y"), Committed(1, 2, 1))
    assert "the log has [1] as a batch of facts 1 to 2" in contradictions(history, logged(batch)[:1])


def test_a_fact_whose_context_is_not_the_one_sent_is_found(history: History) -> None:
    appended(history, facts("x", keys="a"), Committed(1, 1, 1))
    assert "whole and unchanged" in contradictions(history, logged(facts("x", keys="b")))


def test_an_invented_fact_is_found(history: History) -> None:
    appended(history, batch := facts("x"), Committed(1, 1, 1))
    found = contradictions(history, logged(batch, facts("invented")))
    assert "the log has invented as fact 2: not one append, whole and unchanged. Sent by nobody" in found


def test_a_failed_append_that_is_in_the_log_is_found(history: History) -> None:
    appended(history, batch := facts("x"), Failed("STORE_UNAVAILABLE"))
    found = contradictions(history, logged(batch))
    assert "failed: STORE_UNAVAILABLE" in found
    assert "but the log has it as fact 1" in found


def test_a_conflict_that_is_in_the_log_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended_if(history, two := facts("y"), 0, Conflict(1))
    assert "but the log has it as fact 2" in contradictions(history, logged(one, two))


def test_an_append_that_was_told_other_numbers_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(2, 2, 1))
    appended(history, two := facts("y"), Committed(1, 1, 2))
    found = contradictions(history, logged(one, two))
    assert "-> committed fact 2" in found
    assert "but the log has it as fact 1" in found


def test_an_append_that_was_told_another_time_is_found(history: History) -> None:
    appended(history, batch := facts("x"), Committed(1, 1, 9))
    assert "but it told the time 9, the log 1" in contradictions(history, logged(batch))


def test_a_batch_of_several_times_is_found(history: History) -> None:
    x, y = facts("x", "y")
    history.append("writer", [x, y])
    log = [LoggedFact(1, 1, 2, 1, *x), LoggedFact(2, 1, 2, 2, *y)]
    assert "the log has the batch of facts 1 to 2 at several times" in contradictions(history, log)


def test_times_that_go_back_are_found(history: History) -> None:
    x, y = facts("x", "y")
    history.append("writer", [x])
    history.append("writer", [y])
    log = [LoggedFact(1, 1, 1, 2, *x), LoggedFact(2, 2, 2, 1, *y)]
    assert "the log has fact 2 at an earlier time than fact 1" in contradictions(history, log)


# Recording.


def test_calls_of_one_task_are_never_taken_for_concurrent() -> None:
    """Even if the clock stands still."""
    history = History(lambda: 5)
    appended(history, batch := facts("x"), Committed(1, 1, 1))
    queried(history, None, [])
    assert contradictions(history, logged(batch)) != ""


def test_contents_that_are_not_unique_are_refused(history: History) -> None:
    with pytest.raises(AssertionError, match="must be its own"):
        history.append("writer", facts("x", "x"))
    history.append("writer", facts("y"))
    with pytest.raises(AssertionError, match="must be its own"):
        history.append("writer", facts("y"))


# At random.


# Seeds and not st.randoms(), which would leave most orders of calls untried.
seeds = st.integers(0, 2**32 - 1)
numbers_of_calls = st.integers(1, 7)
numbers_of_clients = st.integers(1, 5)


@settings(max_examples=500)
@given(seeds, numbers_of_calls, numbers_of_clients)
def test_what_a_linearizable_store_leaves_has_no_problems(seed: int, calls: int, clients: int) -> None:
    simulation = Simulation(random.Random(seed), KEYS, clients)
    simulation.run(calls)
    assert problems(simulation.history, simulation.log) == []
    assert linearizable(simulation.history, simulation.log)


@settings(max_examples=500)
@given(
    seeds, numbers_of_calls, numbers_of_clients, st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=2)
)
def test_the_checker_agrees_with_a_search_of_all_orders(
    seed: int, calls: int, clients: int, mutations: list[Mutation]
) -> None:
    chance = random.Random(seed)
    simulation = Simulation(chance, KEYS, clients)
    simulation.run(calls)
    history, log = simulation.history, simulation.log
    for mutate in mutations:
        mutate(chance, history, log)
    expected = linearizable(history, log)
    event(f"linearizable: {expected}")
    assert (problems(history, log) == []) == expected


def test_a_stale_answer_is_found_among_twenty_thousand_calls() -> None:
    """Comparing all pairs of them would take longer than a test may."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    simulation = Simulation(chance, tuple(f"account {number}" for number in range(500)), clients=50)
    simulation.run(20_000)
    history, log = simulation.history, simulation.log
    assert problems(history, log) == []
    queried(history, None, [], context=None)
    assert len(problems(history, log)) == 1
