"""What the command says while it copies, and what at its end."""

import io
import re
from pathlib import Path

from factstr_server.cli.progress import ProgressLines
from tests.copying.conftest import Places
from tests.copying.content import small, whole
from tests.copying.copied import command
from tests.stores.opened import opened, url_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_each_phase_has_a_line_at_its_beginning_and_its_end() -> None:
    out = io.StringIO()
    progress = ProgressLines(out)
    for doing in ("copying", "comparing"):
        for done in (0, *range(1, 12_000, 1_000), 12_345):
            progress(doing, done, 12_345)
    progress.end()
    lines = [re.sub(r"[\d,]+ facts/s", "N facts/s", line) for line in out.getvalue().splitlines()]
    assert [line for line in lines if "(0 %)" in line or "(100 %)" in line] == [
        "copying: 0 of 12,345 facts (0 %)",
        "copying: 12,345 of 12,345 facts (100 %), N facts/s",
        "comparing: 0 of 12,345 facts (0 %)",
        "comparing: 12,345 of 12,345 facts (100 %), N facts/s",
    ]


def test_on_a_terminal_a_phase_is_one_line_that_is_drawn_again() -> None:
    out = Terminal()
    progress = ProgressLines(out)
    for doing in ("copying", "comparing"):
        for done in (0, 2):
            progress(doing, done, 2)
    text = out.getvalue()
    assert text.count("\n") == 2
    assert text.count("\r\x1b[K") == 4
    assert text.endswith("\n")
    progress("copying", 0, 2)
    progress.end()
    progress.end()
    assert out.getvalue().count("\n") == 3


def test_a_reader_that_has_gone_does_not_end_the_copy() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    progress = ProgressLines(Gone())
    progress("copying", 0, 1)
    progress("copying", 1, 1)
    progress.end()


async def test_the_command_tells_its_progress_and_what_it_has_copied(places: Places) -> None:
    await small(places.source, 5)
    done = await command("copy", "--from", places.source, "--to", places.target)
    assert done.code == 0
    assert done.out == "copied 5 facts, 4 batches, 1 keys, 1 durable streams; both stores are equal\n"
    assert done.errors[0] == "copying: 0 of 5 facts (0 %)"
    assert done.errors[1].startswith("copying: 5 of 5 facts (100 %), ")
    assert done.errors[2:3] == ["comparing: 0 of 5 facts (0 %)"]
    assert done.errors[3].startswith("comparing: 5 of 5 facts (100 %), ")
    assert len(done.errors) == 4
    assert await whole(places.target) == await whole(places.source)


async def test_the_command_copies_an_empty_store(tmp_path: Path) -> None:
    source, target = url_of(tmp_path / "a.db"), url_of(tmp_path / "b.db")
    async with opened(source):
        pass
    done = await command("copy", "--from", source, "--to", target)
    assert done.out == "copied 0 facts, 0 batches, 0 keys, 0 durable streams; both stores are equal\n"
    assert done.errors == ["copying: 0 of 0 facts (100 %)", "comparing: 0 of 0 facts (100 %)"]
    again = await command("copy", "--from", source, "--to", str(tmp_path / "c.db"))
    assert "cannot be copied to; write sqlite:///" in again.failure
