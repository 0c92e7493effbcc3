"""The client's README says what is true: its Python runs, from top to bottom."""

import re
from pathlib import Path

import pytest

from tests.client.fake_server import FakeServer

README = Path(__file__).parents[2] / "clients/python/README.md"


async def test_the_python_in_the_readme_runs(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks).replace('"localhost:50051"', repr(fake.target))
    assert code.count(fake.target) >= 2
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec", flags=0), names)
    await names["main"]()  # type: ignore[operator]
    assert len(fake.records) >= 4
    assert "drill-1" in capsys.readouterr().out
