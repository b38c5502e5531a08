"""The report as a file: what it holds, what it must not hold, how large it is."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import random
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slingshot.artifacts.predictions import Prediction
from slingshot.config.models import parameters_of
from slingshot.config.reporting import Report
from slingshot.core.errors import StudyError
from slingshot.report import dag as dag_picture
from slingshot.report import error_browser, formats
from slingshot.report.page import make_page, render, script_json, token_lengths, warnings_of_sizes
from slingshot.report.results import read_results
from slingshot.report.tables import SCORES, arm_table, as_csv, as_latex
from tests import results_tree
from tests.results_tree import HOSTILE, Contender, Tree, finish

MEGABYTE = 1_000_000


def study(folder: Path, **settings: Any) -> Tree:
    tree = results_tree.build(folder, samples=settings.pop("samples", 40), **settings)
    finish(tree, settings.get("contenders", results_tree.CONTENDERS))
    return tree


def html_of(tree: Tree) -> str:
    results = read_results(tree.folder)
    return render(results, tree.spec, make_page(results), dag_picture.graph_of_arms(tree.spec.arms))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return study(tmp_path_factory.mktemp("results"))


def unpacked(html: str, name: str) -> str:
    packed = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', html)
    assert packed, f"the page embeds no {name}"
    return gzip.decompress(base64.b64decode(packed[1])).decode()


def test_a_size_that_is_not_that_of_the_weights_is_said(tree: Tree) -> None:
    results = read_results(tree.folder)
    arm = next(arm for arm in results.comparison.arms if arm.size)
    for share, said in ((1.2, False), (0.05, True), (40, True)):
        counted = round(share * parameters_of(arm.size))
        shown = replace(results, cards={arm.model: {"parameters": counted}})
        assert [f"{counted:,} parameters" in line for line in warnings_of_sizes(shown)] == [True] * said


class Addresses(HTMLParser):
    """Collects what a page's attributes point to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pointing = {"src", "href", "srcset", "action", "data", "poster", "formaction", "xlink:href"}
        self.found += [value or "" for name, value in attrs if name in pointing]


def test_sections_stand_in_the_order_that_a_reader_asks(tree: Tree) -> None:
    assert re.findall(r'<section id="(\w+)"', html_of(tree)) == [
        "verdict",
        "size",
        "differences",
        "arms",
        "levels",
        "confusion",
        "training",
        "cost",
        "memory",
        "data",
        "errors",
        "paper",
        "provenance",
    ]


def test_the_page_asks_nothing_of_a_network(tree: Tree) -> None:
    html = html_of(tree)
    reader = Addresses()
    reader.feed(html)
    assert [address for address in reader.found if not address.startswith(("#", "data:,"))] == []
    assert not re.search(r"@import|url\(", html)
    assert "default-src 'none'" in unescape(html)


def test_the_same_results_give_the_same_bytes(tree: Tree) -> None:
    assert html_of(tree) == html_of(tree)


def test_verdict_note_and_numbers_are_there(tmp_path: Path) -> None:
    tree = study(tmp_path, report=Report(title="A <title>", note="The dialogues are synthetic."))
    html = html_of(tree)
    comparison = read_results(tree.folder).comparison
    text = unescape(re.sub("<[^>]*>", " ", html.partition("</section>")[0]))
    assert "".join(comparison.verdict.sentence.split()) in "".join(text.split())
    assert "The dialogues are synthetic." in html
    assert "<title>A &lt;title&gt;</title>" in html
    best = max((arm for arm in comparison.arms if arm.kind == "slm"), key=lambda arm: arm.scores["exact_match"].value)
    assert f"{100 * best.scores['exact_match'].value:.1f}" in html


def test_prompts_are_counted_in_tokens_by_arm_and_split(tree: Tree) -> None:
    results = read_results(tree.folder)
    arm = next(arm for arm in results.training)
    counted = {"train": {"median": 7, "q99": 8, "max": 9}}
    rows = token_lengths(replace(results, training={arm: {"prompt_tokens": counted}}))
    assert {"arm": arm, "split": "train", "median": 7, "q99": 8, "max": 9} in rows
    assert {"arm": arm, "split": "test", "median": 800, "q99": 800, "max": 800} in rows


def test_what_data_and_models_say_is_text(tmp_path: Path) -> None:
    tree = study(tmp_path, hostile=True, report=Report(title=HOSTILE, note=HOSTILE))
    html = html_of(tree)
    assert html.count("<script") == 4  # data, Plotly, samples and the page's own: none that came from outside
    assert "<img" not in html
    assert "window.hacked" in html  # it is there, as text
    packed = json.loads(unpacked(html, "samples"))
    assert packed["texts"][0].startswith(HOSTILE)
    assert HOSTILE in packed["answers"]["raws"]


def test_json_in_a_script_cannot_end_it() -> None:
    value = {"</script>": [HOSTILE, "\u2028\u2029", 1.5, None]}
    written = str(script_json(value))
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == value


def test_without_the_error_browser_no_text_of_the_data_is_in_the_file(tmp_path: Path) -> None:
    tree = study(tmp_path, report=Report(error_browser=False))
    html = html_of(tree)
    assert 'id="samples"' not in html
    assert "holds no text of the data set" in html
    assert not [line for row in tree.samples for line in row["text"].splitlines() if line in html]
    assert not [
        one.raw for answers in tree.predictions.values() for one in answers if one.code is None and one.raw in html
    ]
    assert "dialogues.csv row 12" not in html  # nor an example of a dropped row


def test_the_error_browser_holds_every_sample_and_answer(tree: Tree) -> None:
    packed = json.loads(unpacked(html_of(tree), "samples"))
    assert packed["texts"] == [row["text"] for row in tree.samples]
    assert packed["labels"] == [row["label"] for row in tree.samples]
    for arm, answers in zip(packed["arms"], packed["answers"]["arms"], strict=True):
        codes = [packed["answers"]["codes"][index] if index >= 0 else None for index in answers["code"]]
        assert codes == [one.code for one in tree.predictions[arm]]


def test_a_study_without_a_gpu_says_cpu(tmp_path: Path) -> None:
    html = html_of(study(tmp_path, gpu=False))
    assert "CPU s per 1,000" in html
    assert "GPU s" not in html
    assert "No step of this study ran on a GPU" in html


def test_plain_labels_have_no_chapters(tmp_path: Path) -> None:
    tree = study(tmp_path)
    for contender in results_tree.CONTENDERS:
        path = tree.folder / contender.path / "metrics.json"
        metrics = json.loads(path.read_text())
        free = metrics["answers"]["free"]
        levels = {"label": free["levels"]["code"]}
        free |= {"levels": levels, "by_chapter": [], "hierarchical": None, "valid": None, "confusion": None}
        metrics["provenance"].pop("metrics")  # the seal of what stood there before
        path.write_text(json.dumps(metrics | {"labels": "plain"}))
    test = tree.folder / "data" / "test.parquet"
    pd.read_parquet(test).assign(chapter=None, category=None, block=None).to_parquet(test)
    html = html_of(tree)
    assert "Scores by group" in html
    assert "By chapter" not in html
    assert "too many labels" in html


def test_an_arm_that_is_missing_is_named(tmp_path: Path) -> None:
    tree = study(tmp_path)
    path = tree.folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"missing": ["slm/lost"]}))
    html = html_of(tree)
    assert "Not in this report, as their results are not there yet: slm/lost." in html
    assert "This study has no two arms" not in html


def test_a_report_without_finetuned_arms_says_that_their_results_are_missing(tmp_path: Path) -> None:
    tree = study(tmp_path, contenders=results_tree.CONTENDERS[:1])
    path = tree.folder / "comparison.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"missing": ["slm/lost"]}))
    html = html_of(tree)
    assert "the results of slm/lost are missing" in html
    assert "missing results: slm/lost" in html
    assert "No arm of this study was finetuned" not in html
    assert "<strong>1</strong> arm." in html


def test_records_in_provenance_are_spelled_out(tree: Tree) -> None:
    html = html_of(tree)
    provenance = html[html.index('<section id="provenance"') :].partition("</section>")[0]
    assert "{&#39;" not in provenance
    assert formats.spelled_out({"hub": "a", "files": {"b": None}, "c": [1, True]}) == "hub: a; files: b: –; c: 1, yes"


def test_a_study_of_one_kind_still_has_a_report(tmp_path: Path) -> None:
    html = html_of(study(tmp_path, contenders=results_tree.CONTENDERS[:1]))
    assert "no two arms" in html
    assert "No arm of this study was finetuned by it." in html


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    tree = study(tmp_path)
    (tree.folder / "llm/llama8b/metrics.json").unlink()
    with pytest.raises(StudyError, match=r"llm/llama8b/metrics\.json is missing: make it with `snakemake"):
        read_results(tree.folder)


def test_csv_holds_shares_with_their_intervals_and_no_formula(tree: Tree) -> None:
    comparison = read_results(tree.folder).comparison
    rows = arm_table(comparison, SCORES[:1])
    rows[0]["model"] = "=HYPERLINK(1)"
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert [row["arm"] for row in read] == [arm.arm for arm in comparison.arms]
    assert float(read[1]["exact_match_low"]) == comparison.arms[1].scores["exact_match"].low
    assert read[0]["model"] == "'=HYPERLINK(1)"
    assert float(read[-1]["device_seconds_per_1000_dialogues"]) > 0
    assert read[-1]["peak_allocated_bytes"] == ""


def test_latex_escapes_and_dashes_what_is_missing(tree: Tree) -> None:
    rows = arm_table(read_results(tree.folder).comparison, SCORES[:2])
    rows[0]["arm"] = "llm/a_b&c%\\"
    written = as_latex(rows)
    assert r"llm/a\_b\&c\%\textbackslash{}" in written
    lines = [line for line in written.splitlines() if line.endswith("\\\\")]
    assert {line.replace("\\&", "").count("&") for line in lines} == {3}
    assert lines[-1].split("&")[2:][1].strip(" \\") == "--"  # no arm was decoded with constraints


def test_texts_are_cut_only_where_the_budget_asks_for_it() -> None:
    random_ = random.Random(0)
    words = [f"{random_.random():.9f}" for _ in range(5000)]
    texts = [" ".join(random_.choices(words, k=200)) for _ in range(300)]
    samples = pd.DataFrame({"sample_id": list(map(str, range(300))), "text": texts})
    samples = samples.assign(label="A", description=None, chapter="1")
    whole = error_browser.pack(samples, {}, {})
    assert whole.text_limit is None
    cut = error_browser.pack(samples, {}, {}, budget=len(whole.payload) // 3)
    assert len(cut.payload) <= len(whole.payload) // 3
    shown = json.loads(gzip.decompress(base64.b64decode(cut.payload)))["texts"]
    assert cut.text_limit and max(map(len, shown)) <= cut.text_limit
    assert cut.text_limit > 0.2 * len(texts[0])  # it takes the room that there is
    start, end = shown[0].split(error_browser.CUT)
    assert texts[0].startswith(start) and texts[0].endswith(end)


def test_twenty_arms_and_ten_thousand_samples_stay_below_eight_megabytes(tmp_path: Path) -> None:
    contenders = [Contender(f"llm/large{i}", f"Large-{i}", "8B", 0.4) for i in range(10)]
    contenders += [Contender(f"slm/small{i}", f"Small-{i}", "3B", 0.6) for i in range(10)]
    tree = study(tmp_path, contenders=contenders)
    random_ = random.Random(0)
    vocabulary = ["".join(random_.choices("etaoinshrdlucmfw", k=random_.randint(2, 11))) for _ in range(8000)]
    falling = 1 / (np.arange(len(vocabulary)) + 3)  # words grow rarer as in speech (Zipf)
    spoken = np.random.default_rng(0).choice(len(vocabulary), size=(10_000, 850), p=falling / falling.sum())
    rows = [
        {
            "sample_id": f"{number:016x}",
            "text": " ".join([vocabulary[word] for word in words]),
            "label": random_.choice(results_tree.CODES)[0],
            "description": "a description of some words",
            "chapter": str(number % 21 + 1),
        }
        for number, words in enumerate(spoken.tolist())
    ]
    codes = [f"{letter}{number}" for letter in "ABCDEFGHIJKLM" for number in range(100, 1000, 7)]
    answers = {contender.path: [_any_answer(row, random_.choice(codes)) for row in rows] for contender in contenders}
    results = replace(read_results(tree.folder), test=pd.DataFrame(rows), predictions=answers)
    html = render(results, tree.spec, make_page(results), dag_picture.graph_of_arms(tree.spec.arms))
    assert len(html.encode()) < 8 * MEGABYTE
    assert "All 10,000 test samples" in html
    assert "are cut in the middle" in html


def _any_answer(row: dict[str, str], code: str) -> Prediction:
    raw = f"The most likely code is {code[:3]}.{code[3:]}."
    fields = {"sample_id": row["sample_id"], "label": row["label"], "raw": raw, "code": code}
    return Prediction.model_construct(**fields, prompt_tokens=1, new_tokens=1)


def test_what_leaks_stands_beside_the_verdict(tree: Tree) -> None:
    """Where each text prints its own label, a score of 99.7% says nothing; the verdict is not to be read without it."""
    verdict = re.search(r'<section id="verdict".*?</section>', html_of(tree), re.DOTALL)
    assert verdict
    said = unescape(re.sub(r"<[^>]+>", "", verdict[0]))
    assert "All texts in test print their own label's description: a score then says who finds it in the text" in said
    assert "see data.drop_closing_turn" in said
    assert "2 samples of test have one of 1 labels that train never shows" in said


def test_nothing_is_said_beside_the_verdict_where_nothing_leaks(tree: Tree) -> None:
    results = read_results(tree.folder)
    none = {split: {"samples": 0, "share": 0.0} for split in ("train", "validation", "test")}
    clean = {"prints_own_description": none, "test_labels_unseen_in_train": {"labels": 0, "samples": 0, "first": []}}
    dataset = {**results.dataset, "leakage": {**results.dataset["leakage"], **clean}}
    results = replace(results, dataset=dataset)
    html = render(results, tree.spec, make_page(results), dag_picture.graph_of_arms(tree.spec.arms))
    assert 'class="doubts"' not in html
