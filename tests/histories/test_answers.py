"""The checker finds answers that no order of the calls explains: of conditions, of queries, in real time."""

from tests.histories.history import Committed, Conflict, History
from tests.histories.mutations import logged
from tests.histories.told import appended, appended_if, contradictions, facts, queried

# Conditions.


def test_an_append_if_that_was_committed_although_its_context_had_changed_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    slow = history.append_if("decider", three := facts("z"), "a", 1)
    appended(history, two := facts("y"), Committed(2, 2, 2))
    slow.finish(Committed(3, 3, 3))
    found = contradictions(history, logged(one, two, three))
    assert "append_if(a, expected 1) of z -> committed fact 3" in found
    assert "but before fact 3 its context had the version 2" in found


def test_an_unanswered_append_if_that_was_committed_although_its_context_had_changed_is_found(
    history: History,
) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    history.append_if("decider", two := facts("y"), "a", None)
    assert "but before fact 2 its context had the version 1" in contradictions(history, logged(one, two))


def test_an_append_if_that_expected_more_than_there_was_is_found(history: History) -> None:
    appended_if(history, batch := facts("x"), 7, Committed(1, 1, 1))
    assert "but before fact 1 its context had the version None" in contradictions(history, logged(batch))


def test_two_append_ifs_on_one_version_are_found(history: History) -> None:
    one = history.append_if("decider", x := facts("x"), "a", None)
    two = history.append_if("decider", y := facts("y"), "a", None)
    one.finish(Committed(1, 1, 1))
    two.finish(Committed(2, 2, 2))
    assert "of y -> committed fact 2" in contradictions(history, logged(x, y))


def test_a_stale_conflict_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended(history, two := facts("y"), Committed(2, 2, 2))
    appended_if(history, facts("z"), 2, Conflict(1))
    found = contradictions(history, logged(one, two))
    assert "of y -> committed fact 2" in found
    assert "conflict, actual version 1" in found
    assert "began, which lacked fact 2" in found


def test_a_conflict_that_tells_a_version_of_the_future_is_found(history: History) -> None:
    appended_if(history, facts("x"), 7, Conflict(1))
    appended(history, batch := facts("y"), Committed(1, 1, 1))
    found = contradictions(history, logged(batch))
    assert "had fact 1, and ended before #2 writer" in found
    assert "began, which committed fact 1" in found


def test_a_conflict_about_what_was_expected_is_found(history: History) -> None:
    appended_if(history, facts("x"), None, Conflict(0))
    assert "but that is what it expected" in contradictions(history, [])


def test_a_conflict_with_a_fact_of_another_context_is_found(history: History) -> None:
    appended(history, one := facts("x", keys="b"), Committed(1, 1, 1))
    appended_if(history, facts("y"), 0, Conflict(1))
    assert "but the log has no fact 1 in a" in contradictions(history, logged(one))


def test_a_conflict_of_an_append_without_a_condition_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended(history, facts("y"), Conflict(1))
    assert "but it had no condition" in contradictions(history, logged(one))


# Queries.


def test_a_query_that_misses_a_fact_acknowledged_before_it_began_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(1, 1, 1))
    appended(history, two := facts("y"), Committed(2, 2, 2))
    queried(history, 1, [1])
    found = contradictions(history, logged(one, two))
    assert "#2 writer: append of y -> committed fact 2" in found
    assert "committed fact 2, and ended before #3 reader: query(a)" in found
    assert "began, which lacked fact 2" in found


def test_a_query_that_returns_a_fact_and_misses_an_older_one_is_found(history: History) -> None:
    one, two = history.append("writer", x := facts("x")), history.append("writer", y := facts("y"))
    queried(history, 2, [2])
    one.finish(Committed(1, 1, 1))
    two.finish(Committed(2, 2, 2))
    assert "but it lacks [1]" in contradictions(history, logged(x, y))


def test_a_query_that_returns_more_than_its_version_is_found(history: History) -> None:
    one, two = history.append("writer", x := facts("x")), history.append("writer", y := facts("y"))
    queried(history, 1, [1, 2])
    one.finish(Committed(1, 1, 1))
    two.finish(Committed(2, 2, 2))
    assert "but [2] are not of its context up to there" in contradictions(history, logged(x, y))


def test_a_query_that_returns_a_fact_of_another_context_is_found(history: History) -> None:
    appended(history, one := facts("x", keys="b"), Committed(1, 1, 1))
    queried(history, None, [1])
    assert "but [1] are not of its context" in contradictions(history, logged(one))


def test_a_query_out_of_order_is_found(history: History) -> None:
    appended(history, batch := facts("x", "y"), Committed(1, 2, 1))
    queried(history, 2, [2, 1])
    assert "but it is out of order, or repeats facts" in contradictions(history, logged(batch))


def test_a_query_that_repeats_a_fact_is_found(history: History) -> None:
    appended(history, batch := facts("x", "y"), Committed(1, 2, 1))
    queried(history, 2, [1, 2, 2])
    assert "but it is out of order, or repeats facts" in contradictions(history, logged(batch))


def test_a_query_that_sees_half_a_batch_is_found(history: History) -> None:
    append = history.append("writer", batch := facts("x", "y"))
    queried(history, 1, [1])
    append.finish(Committed(1, 2, 1))
    found = contradictions(history, logged(batch))
    assert "but it had a part of a batch: fact 1 came together with fact 2" in found


def test_a_query_that_tells_a_version_of_another_context_is_found(history: History) -> None:
    append = history.append("writer", batch := [*facts("x"), *facts("y", keys="b")])
    queried(history, 2, [1])
    append.finish(Committed(1, 2, 1))
    assert "but the log has no fact 2 in a" in contradictions(history, logged(batch))


# Real time between calls.


def test_appends_in_another_order_than_in_real_time_are_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(2, 2, 2))
    appended(history, two := facts("y", keys="b"), Committed(1, 1, 1))
    found = contradictions(history, logged(two, one))
    assert "committed fact 2, and ended before #2 writer" in found
    assert "began, which committed fact 1" in found


def test_an_unanswered_append_that_happened_before_it_was_sent_is_found(history: History) -> None:
    appended(history, one := facts("x"), Committed(2, 2, 2))
    history.append("writer", unknown := facts("y"))
    assert "began, which committed fact 1" in contradictions(history, logged(unknown, one))


def test_a_query_that_knows_less_than_one_before_it_is_found(history: History) -> None:
    append = history.append("writer", batch := facts("x"))
    queried(history, 1, [1])
    queried(history, None, [])
    append.finish(Committed(1, 1, 1))
    found = contradictions(history, logged(batch))
    assert "had fact 1, and ended before #3 reader" in found
    assert "began, which lacked fact 1" in found


def test_queries_that_disagree_about_the_order_of_two_contexts_are_found(history: History) -> None:
    """Each pair is fine by itself: only the log's order of both appends contradicts the second query."""
    one = history.append("writer", x := facts("x", keys="a"))
    two = history.append("writer", y := facts("y", keys="b"))
    queried(history, 2, [2], context="b")
    queried(history, None, [], context="a")
    one.finish(Committed(1, 1, 1))
    two.finish(Committed(2, 2, 2))
    assert "had fact 2, and ended before #4 reader: query(a)" in contradictions(history, logged(x, y))


def test_many_calls_contradicted_by_one_are_told_once(history: History) -> None:
    append = history.append("writer", batch := facts("x"))
    queried(history, 1, [1])
    for _ in range(3):
        queried(history, None, [])
    append.finish(Committed(1, 1, 1))
    found = contradictions(history, logged(batch))
    assert "(and 2 more like that)" in found
    assert found.count("\n") == 0
