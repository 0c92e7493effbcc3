"""Each client's package, installed into an empty project outside the repository, is all that the example needs."""

import sys
from pathlib import Path

import pytest

from tests.clients.desk import Desk
from tests.clients.languages import BUILD_SECONDS, EACH, Language, run
from tests.clients.served import InProcess

SCRIPTS = Path(__file__).parent / "packages"


# It may be the first to compile what the client stands on.
@pytest.mark.timeout(BUILD_SECONDS + 300)
@pytest.mark.parametrize("language", EACH)
async def test_the_example_runs_in_an_empty_project_with_the_package_alone(
    language: Language, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    client = language.copied(tmp_path / "repository")
    run(
        ["/bin/sh", "-eu", SCRIPTS / f"{language.name}.sh"],
        project,
        CLIENT=str(client),
        PYTHON=sys.executable,
    )
    served = InProcess(tmp_path, "memory:", {})
    await served.start()
    try:
        async with Desk([str(project / "tool-desk")], served.target, "north", tmp_path) as north:
            assert await north.ask("register drill-1 drill") == "drill-1 is registered"
            assert await north.ask("check-out drill-1 Ada") == "drill-1 is checked out to Ada"
            assert await north.ask("check-out drill-1 Bob") == "drill-1 is out: Ada has it"
            assert await north.inventory() == ["drill-1 drill out Ada", "1 tool"]
        assert north.exit_code == 0
    finally:
        await served.stop()
