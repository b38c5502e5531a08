"""The report of a study with an arm behind an endpoint."""

from __future__ import annotations

import pytest

from slingshot.artifacts.predictions import read_predictions, write_predictions
from slingshot.artifacts.records import EndpointUse, read_step_record
from slingshot.report.dag import graph_of_arms
from slingshot.report.error_browser import _answers
from slingshot.report.page import make_page, render
from slingshot.report.results import read_results
from tests import results_tree
from tests.results_tree import HOSTILE, Contender

CONTENDERS = (
    Contender("llm/gpt", "big-1", None, 0.6),
    Contender("llm/llama8b", "Meta-Llama-3.1-8B-Instruct", "8B", 0.52),
    Contender("slm/qwen3b", "Qwen2.5-3B-Instruct", "3B", 0.70),
)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    tree = results_tree.build(tmp_path_factory.mktemp("asked") / "results", samples=40, contenders=CONTENDERS)
    path = tree.folder / "llm/gpt/predict.json"
    record = read_step_record(path)
    record.step = "ask"
    record.endpoint = EndpointUse(
        api="https://api.example.org/v1",
        model="big-1",
        models={HOSTILE: 39},
        finish_reasons={"stop": 38, "length": 1},
        errors={"500": 1},
        refusals=1,
        latency_median=1.5,
        latency_q95=3.5,
        not_possible=["candidates: only 0 of 40 answers came with log-probabilities"],
    )
    record.write(path)
    predictions = tree.predictions["llm/gpt"]
    predictions[0] = predictions[0].model_copy(
        update={"raw": "", "code": None, "refusal": HOSTILE, "finish_reason": "content_filter"}
    )
    predictions[1] = predictions[1].model_copy(update={"thinking": "It may be I10. " * 100, "finish_reason": "stop"})
    predictions[2] = predictions[2].model_copy(update={"error": "500: broken", "code": None})
    write_predictions(tree.folder / "llm/gpt/predictions.jsonl", predictions)
    results_tree.finish(tree, CONTENDERS)
    return tree, read_results(tree.folder)


def test_optional_fields_come_back_from_the_file(results):
    tree, _ = results
    first, second, third, fourth = read_predictions(tree.folder / "llm/gpt/predictions.jsonl")[:4]
    assert first.refusal == HOSTILE and third.error == "500: broken" and second.thinking.startswith("It may")
    lines = (tree.folder / "llm/gpt/predictions.jsonl").read_text().splitlines()
    assert "refusal" not in lines[3] and "thinking" not in lines[0] and fourth.error is None


def test_the_error_browser_holds_what_only_some_answers_have(results):
    _, found = results
    ids = [one.sample_id for one in found.predictions["llm/gpt"]]
    packed = _answers(ids, found.predictions)
    notes = [packed["notes"][index] if index >= 0 else {} for index in packed["arms"][0]["note"]]
    assert notes[0] == {"ended": "content_filter", "refusal": HOSTILE}
    assert notes[1]["thinking"].startswith("It may be I10.") and len(notes[1]["thinking"]) <= 600
    assert notes[2] == {"error": "500: broken"} and notes[3] == {}


def test_the_page_tells_of_the_endpoint_and_escapes_what_it_said(results):
    tree, found = results
    page = render(found, tree.spec, make_page(found), graph_of_arms(tree.spec.arms))
    section = page[page.index("<h3>Endpoints</h3>") : page.index('<section id="levels"')]
    assert "https://api.example.org/v1" in section and "1 (500: 1)" in section
    assert "only 0 of 40 answers came with log-probabilities" in section
    assert "<script>window.hacked" not in page and "&lt;script&gt;window.hacked" in section
    assert "1.50 (95%: 3.50)" in page
    assert "cut in the middle to 600 characters" in page


def test_an_arm_of_unknown_size_stands_beside_the_axis(results):
    _, found = results
    figure = make_page(found).figures["size_against_score"]
    assert "llm/gpt (size unknown)" in [label.text for label in figure.plot.layout.annotations]
    assert all("llm/gpt" not in str(trace.text) for trace in figure.plot.data)


def test_its_device_seconds_and_energy_are_null_and_so_is_break_even_in_them(results):
    _, found = results
    cost = next(arm.cost for arm in found.comparison.arms if arm.arm == "llm/gpt")
    assert cost.predict.device_seconds is None and cost.predict.energy_wh is None
    answers = {each.resource: each.answer for each in found.comparison.break_even if each.zero_shot == "llm/gpt"}
    assert answers == {"device_seconds": "unknown", "energy_wh": "unknown", "money": "unknown"}
