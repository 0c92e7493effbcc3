"""A clock that goes backwards does not take occurred_at along. (For stores that ask this process's clock.)"""

import time
from pathlib import Path

import pytest

from tests.conformance.driver import NewFact
from tests.conformance.matrix import STORES, StoreKind
from tests.stores.opened import commit, opened

MOMENTS = [1_700_000_000_000_000, 1_600_000_000_000_000, 1_699_999_999_999_999, 1_700_000_000_000_001]
EXPECTED = [MOMENTS[0], MOMENTS[0], MOMENTS[0], MOMENTS[3]]


OF_THIS_PROCESS = [kind for kind in STORES if kind.name in {"memory", "sqlite"}]


@pytest.fixture(params=OF_THIS_PROCESS, ids=lambda kind: kind.name)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind: StoreKind = request.param
    return kind.url(tmp_path)


async def test_occurred_at_never_decreases_although_the_clock_does(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(url) as store:
        times = []
        for moment in MOMENTS:
            monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000 + 999)
            times.append((await commit(store, NewFact(), NewFact())).occurred_at)
        assert times == EXPECTED
        assert [await store.sequence_number_at(moment) for moment in sorted(set(times))] == [6, 8]


async def test_occurred_at_never_decreases_over_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'facts.db'}"
    times = []
    for moment in MOMENTS:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment * 1_000)
        async with opened(url) as store:
            times.append((await commit(store, NewFact())).occurred_at)
    assert times == EXPECTED
