"""Every client passes every case, on every store."""

from pathlib import Path

import pytest

from tests.clients.adapter import Adapter
from tests.clients.cases import Case, cases
from tests.clients.languages import EACH, Language
from tests.clients.running import Run
from tests.conformance.matrix import STORES, StoreKind

WAYS = [
    pytest.param(case, store, id=f"{case.id}-{store.name}")
    for case in cases()
    for store in STORES
    if store.name in case.stores
]


# The first to ask for an adapter builds it, which is not the case's time.
@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("language", EACH)
@pytest.mark.parametrize(("case", "store"), WAYS)
async def test_a_client_does_what_the_case_says(
    language: Language, case: Case, store: StoreKind, adapter: Adapter, tmp_path: Path
) -> None:
    await Run(case, adapter, tmp_path, store.url(tmp_path)).run()
