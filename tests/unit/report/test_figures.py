"""The report's figures: what they draw, what they say beside it, and their files."""

from __future__ import annotations

import logging
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from slingshot.artifacts.metrics import CalibrationBin, Confusion
from slingshot.config.arms import Arm
from slingshot.report import dag as dag_picture
from slingshot.report import formats
from slingshot.report.figures import (
    costs as cost_figures,
)
from slingshot.report.figures import (
    export as figure_files,
)
from slingshot.report.figures import (
    overview as figures,
)
from slingshot.report.figures import (
    scores as score_figures,
)
from slingshot.report.figures.style import COLORS, SEQUENTIAL, ArmStyle, log_ticks, plain, styles_of
from slingshot.report.page import forest_pairs, make_page
from slingshot.report.results import Results, read_results
from tests import results_tree
from tests.results_tree import finish


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    tree = results_tree.build(tmp_path_factory.mktemp("results"), samples=60)
    finish(tree, results_tree.CONTENDERS)
    return read_results(tree.folder)


def test_numbers_are_written_without_exponents_and_false_digits() -> None:
    numbers = [formats.number(value) for value in (12345.6, 0.012345, 0, None, 99.4)]
    assert numbers == ["12,346", "0.0123", "0", "–", "99.4"]
    assert formats.points(-0.0421) == "−4.2"
    assert formats.points(0.05) == "+5.0"
    assert formats.p_value(0.0004) == "< 0.001"
    assert (formats.p_in_words(0.0004), formats.p_in_words(0.012)) == ("p < 0.001", "p = 0.012")
    assert (formats.points(0.0), formats.points(0.0004), formats.points(-0.0004)) == ("0.0", "+0.0", "−0.0")
    assert formats.level(0.95) == "95%"
    assert formats.gibibytes(3 * 2**29) == "1.50"
    assert formats.gibibytes(-(2**29)) == "−0.50"


def test_a_logarithmic_axis_has_numbers_however_near_its_values_lie() -> None:
    for values in ([11.0, 14.0], [3.0, 900.0], [0.02, 40_000.0]):
        axis = log_ticks(values)
        assert len(axis["tickvals"]) >= 2
        assert 10 ** axis["range"][0] < min(values)
        assert max(values) < 10 ** axis["range"][1]
    assert log_ticks([11.0, 14.0])["ticktext"] == ["10", "20"]


def test_arms_of_one_size_stay_close_to_it(results: Results) -> None:
    arms = [results.comparison.arms[0].model_copy(update={"arm": f"llm/{index}"}) for index in range(12)]
    arms.append(arms[0].model_copy(update={"arm": "slm/x", "size": "1B"}))
    places = figures._dodged(arms)
    same = [place for arm, place in places.items() if arm != "slm/x"]
    assert 1 < max(same) / min(same) < 1.2


def test_levels_that_repeat_the_one_below_are_left_out(results: Results) -> None:
    free = {arm: metrics.answers["free"].levels for arm, metrics in results.metrics.items()}
    same = [{**levels, "category": levels["code"]} for levels in free.values()]
    assert score_figures._telling_levels(list(free.values()))[:2] == ["code", "category"]
    assert "category" not in score_figures._telling_levels(same)


def test_confusion_of_plain_labels_begins_with_the_most_frequent() -> None:
    counts = Confusion(level="label", labels=["a", "b"], titles=["a", "b"], counts=[[1, 0, 0], [2, 3, 1]])
    assert score_figures.confusion("slm/x", counts).table.rows[0] == ["b", "3", "2", "1"]


def test_every_figure_has_a_text_and_its_numbers(results: Results) -> None:
    page = make_page(results)
    assert set(page.figures) == {
        "size_against_score",
        "paired_differences",
        "scores_by_level",
        "scores_by_chapter",
        "scores_by_train_frequency",
        "scores_by_length",  # no calibration: each arm's probabilities stand in one bin
        "training_curves",
        "cumulative_cost",
        "pareto_front",
        "memory_ledger",
    }
    assert set(page.confusions) == set(results.metrics)
    for figure in page.all:
        assert len(figure.alt) > 20
        assert figure.table.rows
        assert {len(row) for row in figure.table.rows} == {len(figure.table.columns)}


def test_bars_end_where_the_intervals_end(results: Results) -> None:
    plot = figures.size_against_score(results.comparison, "GPU").plot
    small = next(trace for trace in plot.data if trace.name == "small, finetuned")
    scores = [arm.scores["exact_match"] for arm in results.comparison.arms if arm.kind == "slm"]
    for place, score in enumerate(scores):
        assert small.y[place] + small.error_y.array[place] == pytest.approx(100 * score.high)
        assert small.y[place] - small.error_y.arrayminus[place] == pytest.approx(100 * score.low)


def test_marker_area_is_proportional_to_cost(results: Results) -> None:
    plot = figures.size_against_score(results.comparison, "GPU").plot
    sizes = {name: size for trace in plot.data for name, size in zip(trace.text, trace.marker.size, strict=True)}
    costs = {arm.arm: figures.serving_seconds(arm.cost) for arm in results.comparison.arms if arm.cost and arm.size}
    by_arm = {arm: next(size for text, size in sizes.items() if arm in text) for arm in costs}
    ratio = (by_arm["llm/llama8b"] / by_arm["llm/mistral7b"]) ** 2
    assert ratio == pytest.approx(costs["llm/llama8b"] / costs["llm/mistral7b"])


def test_an_arm_whose_cost_is_not_known_is_hollow(results: Results) -> None:
    arms = [arm.model_copy(update={"cost": None}) if arm.kind == "slm" else arm for arm in results.comparison.arms]
    plot = figures.size_against_score(results.comparison.model_copy(update={"arms": arms}), "GPU").plot
    symbols = {trace.name: set(trace.marker.symbol) for trace in plot.data}
    assert symbols == {"large, untrained": {"square"}, "small, finetuned": {"circle-open"}}


def test_a_large_finetuned_arm_is_not_taken_for_a_zero_shot_one(results: Results) -> None:
    arms = [arm.model_copy() for arm in results.comparison.arms]
    arms[0].finetuned = True
    plot = figures.size_against_score(results.comparison.model_copy(update={"arms": arms}), "GPU").plot
    drawn = {trace.name: (len(trace.x), set(trace.marker.symbol)) for trace in plot.data}
    assert drawn["large, finetuned"] == (1, {"circle"})
    assert drawn["large, untrained"] == (1, {"square"})


def test_names_keep_apart_and_near_their_markers() -> None:
    heights = figures._spread([70, 69, 69, 40], gap=5)
    assert all(above - below >= 5 - 1e-9 for above, below in pairwise(heights))
    assert max(abs(height - wanted) for height, wanted in zip(heights, [70, 69, 69, 40], strict=True)) < 8
    assert min(figures._spread([1, 1, 1], gap=5)) >= 0


def test_the_forest_marks_significance_and_puts_the_verdicts_pairs_first(results: Results) -> None:
    pairs = forest_pairs(results.comparison)
    assert [pair.family for pair in pairs] == ["primary"] * 4 + ["baseline"] * 4
    plot = figures.forest(pairs, 0.95).plot
    drawn = {trace.name: len(trace.x) for trace in plot.data}
    assert drawn["significant in its family"] == sum(pair.significant for pair in pairs)
    assert sum(drawn.values()) == len(pairs)
    assert plot.layout.annotations[-1].text.startswith("slm/llama3b − llm/llama8b")  # the last row is the highest


def test_the_forest_names_its_level_unrounded(results: Results) -> None:
    """97.5% was written as 98%."""
    table = figures.forest(forest_pairs(results.comparison), 0.975).table
    assert table.columns[2] == "Difference, points [simultaneous 97.5% interval]"


def test_a_long_training_curve_is_thinned_and_says_so() -> None:
    log = [{"step": step, "loss": float(step)} for step in range(1, 1001)]
    figure = cost_figures.training_curves(
        {"slm/a": log}, {"slm/a": None}, {"slm/a": ArmStyle("#000", "solid", "circle")}
    )
    assert len(figure.plot.data[0].x) <= cost_figures.MOST_POINTS
    assert figure.plot.data[0].y[0] == pytest.approx(2.0)  # the mean of the first three steps
    assert "mean of 3 steps" in figure.notes[0]


def test_the_kept_step_is_starred(results: Results) -> None:
    arm = "slm/qwen3b"
    figure = cost_figures.training_curves(
        {arm: results.logs[arm]}, {arm: results.training[arm]["best_step"]}, styles_of(results.comparison.arms)
    )
    star = figure.plot.data[-1]
    assert star.marker.symbol == "star"
    assert list(star.x) == [results.training[arm]["best_step"]]
    assert [row[3] for row in figure.table.rows].count("kept") == 1


def test_training_that_was_not_measured_counts_as_unknown_not_as_free(results: Results) -> None:
    arms = [arm.model_copy(deep=True) for arm in results.comparison.arms]
    for arm in arms:
        if arm.arm == "slm/qwen3b" and arm.cost:
            arm.cost.training = None
    figure = cost_figures.cumulative_cost(results.comparison.model_copy(update={"arms": arms}), "GPU")
    assert figure is not None
    assert [trace.name for trace in figure.plot.data] == [
        "llm/llama8b (GPU)",
        "llm/mistral7b (GPU)",
        "slm/llama3b (GPU)",
        "baseline/tfidf (CPU)",
    ]
    assert "can't be compared" in figure.notes[0]


def test_lines_of_cost_cross_at_the_break_even(results: Results) -> None:
    large, small = (next(a for a in results.comparison.arms if a.arm == name) for name in ("llm/llama8b", "slm/qwen3b"))
    assert large.cost and small.cost and small.cost.training
    saved = (large.cost.per_1000_dialogues.device_seconds - small.cost.per_1000_dialogues.device_seconds) / 1000
    volume = small.cost.training.device_seconds / saved
    assert cost_figures._spent(small, volume) == pytest.approx(cost_figures._spent(large, volume))


def test_without_a_device_the_ledger_shows_main_memory(results: Results) -> None:
    gone = {"device": None, "total": None, "before": None, "peak": None, "after": None}
    figure = cost_figures.memory_ledger([row.model_copy(update=gone) for row in results.comparison.memory_ledger])
    assert figure is not None
    assert [trace.name for trace in figure.plot.data] == ["peak"]
    assert list(figure.plot.data[0].x) == pytest.approx([2.4] * len(results.comparison.memory_ledger), abs=0.01)
    assert cost_figures.memory_ledger([]) is None


def test_confusion_colours_shares_of_a_row_and_writes_counts() -> None:
    counts = Confusion(level="chapter", labels=["1", "2"], titles=["one", "two"], counts=[[3, 0, 1], [0, 0, 0]])
    heat = score_figures.confusion("llm/a", counts).plot.data[0]
    assert list(heat.z[0]) == [75, 0, 25]
    assert list(heat.z[1]) == [None, None, None]
    assert [list(row) for row in heat.text] == [["3", "", "1"], ["", "", ""]]
    # Ticks go by name: Plotly takes a number for the category of that name, not for the place.
    plot = score_figures.confusion("llm/a", counts).plot
    assert list(plot.layout.xaxis.tickvals) == ["1", "2", "no answer"]


def test_html_in_names_is_text() -> None:
    assert plain("<b>&\n x</b>") == "&lt;b&gt;&amp; x&lt;/b&gt;"
    counts = Confusion(level="label", labels=[results_tree.HOSTILE], titles=["<i>"], counts=[[1, 0]])
    assert "<script" not in score_figures.confusion("<script>", counts).plot.to_json().replace("\\u003c", "<")


# ---------------------------------------------------------------- the picture of the workflow


def test_the_graph_follows_from_the_arms() -> None:
    arms = [Arm(kind="llm", model="a", finetuned=False), Arm(kind="slm", model="b", finetuned=True)]
    graph = dag_picture.graph_of_arms(arms)
    assert graph.needs("predict slm/b") == ["prepare_data", "fetch_model b", "finetune slm/b"]
    assert graph.needs("predict llm/a") == ["prepare_data", "fetch_model a"]
    assert graph.needs("compare") == ["score llm/a", "score slm/b"]


def test_snakemakes_mermaid_is_read_and_drawn_from_left_to_right() -> None:
    nodes = "\tid0[report]\n\tid1[score - arm: <b>x]\n\tstyle id0 fill:#57D9BA\n"
    text = f"---\ntitle: DAG\n---\nflowchart TB\n{nodes}\tid1 --> id0"
    graph = dag_picture.graph_of_mermaid(text)
    assert graph == dag_picture.Graph({"id0": "report", "id1": "score <b>x"}, [("id1", "id0")])
    drawn = str(dag_picture.draw(graph))
    assert "&lt;b&gt;x" in drawn and "<b>" not in drawn
    lefts = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', drawn)]
    assert len(lefts) == 2 and lefts == sorted(lefts)


def test_boxes_of_the_workflow_do_not_overlap() -> None:
    graph = dag_picture.graph_of_arms([one.arm for one in results_tree.CONTENDERS])
    _, _, boxes = dag_picture._places(graph, dag_picture._layers(graph))
    placed = [(left, y, left + width) for left, y, width in boxes.values()]
    for first in placed:
        for second in placed:
            apart = first[2] < second[0] or second[2] < first[0] or abs(first[1] - second[1]) >= dag_picture.BOX_HEIGHT
            assert first == second or apart


# ---------------------------------------------------------------- files


def test_without_chromium_no_file_is_written_and_the_log_says_why(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(figure_files.shutil, "which", lambda name: None)
    with caplog.at_level(logging.INFO):
        assert figure_files.write_figures(make_page(results).all, tmp_path / "figures") == []
    assert "Chromium" in caplog.text
    assert (tmp_path / "figures").is_dir()


@pytest.mark.skipif(not any(map(shutil.which, figure_files.BROWSERS)), reason="no Chromium on PATH")
def test_svg_files_are_the_same_each_time(results: Results, tmp_path: Path) -> None:
    chosen = [figure for figure in make_page(results).all if figure.name in ("training_curves", "calibration")]
    first = figure_files.write_figures(chosen, tmp_path / "first")
    second = figure_files.write_figures(chosen, tmp_path / "second")
    assert [path.name for path in first] == [f"{figure.name}.{kind}" for figure in chosen for kind in ("svg", "pdf")]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith(b"<svg" if one.suffix == ".svg" else b"%PDF")


def test_an_arm_has_one_colour_in_every_figure(results: Results) -> None:
    styles = styles_of(results.comparison.arms)
    assert len({(style.color, style.dash) for style in styles.values()}) == len(styles)
    by_color = {style.color: arm for arm, style in styles.items()}
    seen = set()
    for figure in make_page(results).figures.values():
        for trace in figure.plot.data:
            for arm in styles:
                if (trace.name or "").startswith(arm):
                    color = trace.line.color or trace.marker.color
                    assert by_color[color] == arm, (figure.name, trace.name)
                    seen.add(figure.name)
    assert {"scores_by_length", "training_curves", "cumulative_cost"} <= seen


def test_what_is_no_arm_has_no_colour_of_one(results: Results) -> None:
    page = make_page(results)
    arms = {style.color for style in styles_of(results.comparison.arms).values()} | set(COLORS.values())
    for name in ("paired_differences", "scores_by_level", "memory_ledger"):
        for trace in page.figures[name].plot.data:
            assert trace.marker.color not in arms
    assert not arms & {color for _, color in SEQUENTIAL}


def test_twelve_arms_of_a_kind_are_told_apart(results: Results) -> None:
    arms = [results.comparison.arms[0].model_copy(update={"arm": f"llm/{number}"}) for number in range(12)]
    assert len({(style.color, style.dash) for style in styles_of(arms).values()}) == 12


def test_only_probabilities_among_labels_are_said_to_be_calibrated_or_not(results: Results) -> None:
    """A written answer's probability is one among all texts, so that its arm has no calibration error."""
    scores = {arm.arm: arm.scores for arm in results.comparison.arms}
    assert all(results.metrics[arm].ranked for arm in scores)
    having = {arm for arm, found in scores.items() if "calibration_error" in found}
    assert having == {"baseline/tfidf"}
    assert {arm for arm, found in scores.items() if "brier" in found} == having
    bins = [CalibrationBin(low=low, high=low + 0.1, n=9, confidence=low, accuracy=low) for low in (0.1, 0.6)]
    metrics = {
        arm: found.model_copy(update={"ranked": found.ranked.model_copy(update={"calibration": bins})})
        for arm, found in results.metrics.items()
        if found.ranked
    }
    drawn = score_figures.calibration(results.comparison, metrics, styles_of(results.comparison.arms))
    assert drawn is not None and {row[0] for row in drawn.table.rows} == having
