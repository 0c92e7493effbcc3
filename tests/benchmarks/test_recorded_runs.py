"""What is made of a run: its JSON, the page, the plots, and the table of the figures that are wanted.

`run.json` is a part of a quick run. Where the shape of runs changes, it is recorded again.
"""

from argparse import ArgumentTypeError
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure as Drawing

from benchmarks import plots
from benchmarks.comparison import Spread
from benchmarks.page import PLOTS, page
from benchmarks.plots import draw
from benchmarks.recorded import Run, named_run, read, write
from benchmarks.report import as_markdown
from benchmarks.results import FigureRow, FigureTable, Found, Result
from benchmarks.wanted import CONTEXT, HUNDREDS, SCALE, SINGLES, Figure, of_peer, wanted_figures

ONE = Spread(1.0, 0.9, 1.1)


@pytest.fixture(scope="module")
def run() -> Run:
    return read(Path(__file__).with_name("run.json"))


def test_a_run_is_read_back_as_it_was_written(run: Run, tmp_path: Path) -> None:
    write(run, tmp_path / "again.json")
    assert read(tmp_path / "again.json") == run


def test_every_plot_is_drawn_as_svg_and_as_png(run: Run, tmp_path: Path) -> None:
    assert set(draw(run, tmp_path)) == set(PLOTS)
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in PLOTS for kind in ("svg", "png")
    }


@pytest.mark.parametrize("name", ["throughput", "context-query", "delivery"])
def test_a_line_joins_what_was_measured_at_several_sizes(run: Run, name: str) -> None:
    axes = Drawing().add_subplot()
    plots.PLOTS[name](run, axes)
    assert [line.get_label() for line in axes.lines if len(np.asarray(line.get_xdata())) < 2] == []
    assert len(axes.lines) >= 2


def test_the_same_run_gives_the_same_plots(run: Run, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        draw(run, tmp_path / folder)
    for name in PLOTS:
        once, again = (tmp_path / folder / f"{name}.svg" for folder in ("once", "again"))
        assert once.read_bytes() == again.read_bytes()


def test_what_a_run_did_not_measure_is_not_drawn(run: Run, tmp_path: Path) -> None:
    assert draw(replace(run, results=[run.result("replay")]), tmp_path) == ["replay"]
    assert draw(replace(run, results=[]), tmp_path) == []


def test_the_page_tells_figures_scenarios_and_machine_and_shows_the_plots(run: Run) -> None:
    text = page(run)
    for figure in run.figures_wanted:
        assert f"| {figure.what} | {figure.against} |" in text
    for result in run.results:
        assert f"\n## {result.scenario}\n" in text
    for name in PLOTS:
        assert f"](performance/{name}.svg)" in text
    assert f"- cpu: {run.machine['cpu']}" in text


@pytest.mark.parametrize("scenario", ["append", "context_query", "scale", "replay", "delivery", "filtered"])
def test_the_page_shows_the_plots_that_are_drawn_and_no_others(
    run: Run, tmp_path: Path, scenario: str
) -> None:
    part = replace(run, results=[run.result(scenario)])
    text = page(part)
    assert {name for name in PLOTS if f"](performance/{name}.svg)" in text} == set(draw(part, tmp_path))


@pytest.mark.parametrize(
    ("preset", "says"),
    [("quick", "its logs were too small"), ("standard", "its largest log smaller"), ("full", None)],
)
def test_the_page_says_in_which_way_a_run_fell_short_of_a_full_one(
    run: Run, preset: str, says: str | None
) -> None:
    text = page(replace(run, preset=replace(run.preset, name=preset)))
    assert ("takes its place" in text) == (says is not None)
    assert says is None or says in text


def test_a_file_without_a_run_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ArgumentTypeError, match=r"absent\.json does not hold a run: .*No such file"):
        named_run(str(tmp_path / "absent.json"))
    (tmp_path / "empty.json").write_bytes(b"")
    with pytest.raises(ArgumentTypeError, match=r"empty\.json does not hold a run"):
        named_run(str(tmp_path / "empty.json"))


def test_a_figure_that_says_nothing_of_a_row_is_left_empty() -> None:
    rows = [FigureRow("all", {"facts/s": ONE, "of it": ONE}), FigureRow("a part", {"facts/s": ONE})]
    assert "| a part | 1.00 (0.90 to 1.10) |  |" in as_markdown(
        Result("replay", figures=[FigureTable("", rows)])
    )


def test_the_page_of_a_run_that_failed_says_so(run: Run) -> None:
    assert "FAILED: append (a fact is missing)" in page(
        replace(run, failures={"append": "a fact is missing"})
    )


def figure(result: Result, what: str) -> Figure:
    [found] = [each for each in wanted_figures([result], {}, {}) if what in each.what]
    return found


@pytest.mark.parametrize(
    ("ratio", "verdict"), [(0.59, "NOT MET"), (0.6, "met"), (0.74, "met"), (0.75, "met, and the aim")]
)
def test_a_figure_is_held_against_its_bound_and_its_aim(ratio: float, verdict: str) -> None:
    result = Result("append", wanted={SINGLES: Found(Spread(ratio, ratio, ratio))})
    assert figure(result, "unary appends").verdict == verdict


@pytest.mark.parametrize(("ratio", "verdict"), [(1.25, "met, and the aim"), (1.5, "met"), (1.51, "NOT MET")])
def test_of_latencies_the_smaller_is_the_better(ratio: float, verdict: str) -> None:
    result = Result("context_query", wanted={CONTEXT: Found(Spread(ratio, ratio, ratio))})
    assert figure(result, "10 of 1,000,000").verdict == verdict


def test_a_figure_that_was_measured_at_another_size_is_told_and_not_judged() -> None:
    result = Result("scale", wanted={SCALE: Found(ONE, "measured at 10 facts")})
    found = figure(result, "5,000,000")
    assert (found.ratio, found.verdict) == (ONE, "not judged: measured at 10 facts")


def test_every_figure_that_is_lacking_says_why() -> None:
    append = Result("append", wanted={SINGLES: Found(ONE)})
    figures = wanted_figures([append], {"append_if": "a conflict"}, {"scale": "no disk"})
    assert {each.verdict for each in figures} == {
        "met, and the aim",
        "skipped: UmaDB is not installed",
        "append_stream did not run",
        "append_if FAILED",
        "replay did not run",
        "context_query did not run",
        "skipped: no disk",
    }


def test_umadb_counts_with_each_way_to_tag() -> None:
    names = [each.against for each in wanted_figures([], {}, {}) if each.what.startswith("appends of 100")]
    assert names == ["UmaDB, one tag", "UmaDB, a tag for every member"]
    assert of_peer(HUNDREDS, names[0]) != of_peer(HUNDREDS, names[1])
