"""The report: everything that results/ says, as one HTML file that opens from the disk without a network.

The page's texts stand in report_template/. Whatever comes from data, models or the config is escaped there by Jinja,
and in JSON by `script_json`; the page's policy allows no script but its own two, which it knows by digest.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from slingshot import cost_figures, dag_picture, design_figures, figures, formats, score_figures
from slingshot.comparison import ArmSummary, Comparison, PairComparison, read_comparison
from slingshot.config import ReportSpec
from slingshot.error_browser import Packed, pack
from slingshot.errors import StudyError
from slingshot.figure_files import write_figures
from slingshot.files import read_json, read_jsonl, write_text
from slingshot.metrics import Metrics, read_metrics
from slingshot.plots import Figure
from slingshot.predictions import Prediction, read_predictions
from slingshot.records import StepRecord, read_step_record

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "report_template"
Read = TypeVar("Read")

FILTERS: tuple[Callable[..., str], ...] = (
    formats.level,
    formats.percent,
    formats.points,
    formats.interval,
    formats.signed_interval,
    formats.with_interval,
    formats.p_value,
    formats.number,
    formats.count,
    formats.gibibytes,
    design_figures.train_size,
)

# The columns of the table of arms that hold a score: its key, its heading and what it says.
SCORES = (
    ("exact_match", "Exact match", "the answer is the label"),
    ("constrained_exact_match", "Exact match, constrained", "decoding may say only known labels"),
    ("macro_f1", "Macro F1", "mean over labels"),
    ("weighted_f1", "Weighted F1", "weighted by how often a label is true"),
    ("category_accuracy", "Category", "accuracy of the first three characters"),
    ("block_accuracy", "Block", "accuracy of the block of categories"),
    ("chapter_accuracy", "Chapter", "accuracy of the chapter"),
    ("hierarchical_f1", "Hierarchical F1", "over codes with all their ancestors (Kiritchenko et al. 2006)"),
    ("top_1", "Top 1", "the best candidate is the label"),
    ("top_3", "Top 3", "the label is among the best three candidates"),
    ("top_5", "Top 5", "the label is among the best five candidates"),
    ("parsable", "Parsable", "a label could be read from the answer"),
    ("valid", "Valid", "the answer is in the ICD-10-CM code set"),
    ("known", "Known", "the answer is a label of this study"),
    (
        "expected_calibration_error",
        "ECE",
        "expected calibration error of the best candidate's probability; low is good",
    ),
)


@dataclass(frozen=True)
class Results:
    """What results/ holds of a study, as far as it is there; keys are arms' paths."""

    comparison: Comparison
    metrics: dict[str, Metrics]
    training: dict[str, dict[str, Any]]
    logs: dict[str, list[dict[str, Any]]]
    predictions: dict[str, list[Prediction]]
    steps: dict[str, list[StepRecord]]
    cards: dict[str, dict[str, Any]]
    dataset: dict[str, Any]
    test: pd.DataFrame


@dataclass(frozen=True)
class Page:
    """The figures of a page by their names; `confusions` by arm."""

    figures: dict[str, Figure]
    confusions: dict[str, Figure]

    @property
    def all(self) -> list[Figure]:
        return [*self.figures.values(), *self.confusions.values()]


def read_results(folder: Path) -> Results:
    """Read a study's results.

    Raises:
        StudyError: comparison.json, the data or the metrics of a compared arm are missing.
    """
    comparison = _required(folder / "comparison.json", read_comparison)
    arms = [arm.arm for arm in comparison.arms]
    folders = {arm: folder / arm for arm in arms}
    cards = {}
    for arm in comparison.arms:
        card = folder / "models" / f"{arm.model}.json"
        if card.exists():
            cards[arm.model] = read_json(card)
    return Results(
        comparison=comparison,
        metrics={arm: _required(folders[arm] / "metrics.json", read_metrics) for arm in arms},
        training={arm: read_json(path) for arm in arms if (path := folders[arm] / "training.json").exists()},
        logs={arm: read_jsonl(path) for arm in arms if (path := folders[arm] / "training_log.jsonl").exists()},
        predictions={arm: _required(folders[arm] / "predictions.jsonl", read_predictions) for arm in arms},
        steps={arm: _steps(folder) for arm, folder in folders.items()},
        cards=cards,
        dataset=_required(folder / "data" / "dataset.json", read_json),
        test=_required(folder / "data" / "test.parquet", pd.read_parquet),
    )


def _steps(folder: Path) -> list[StepRecord]:
    paths = [folder / f"{step}.json" for step in ("finetune", "predict")]
    return [read_step_record(path) for path in paths if path.exists()]


def _required(path: Path, read: Callable[[Path], Read]) -> Read:
    try:
        return read(path)
    except FileNotFoundError:
        raise StudyError(f"{path} is missing: make it with `snakemake {path}`") from None


def make_page(results: Results) -> Page:
    """Draw every figure that the results allow."""
    comparison, metrics = results.comparison, results.metrics
    unit = seconds_of(comparison)
    kinds = {arm.arm: arm.kind for arm in comparison.arms}
    free = {arm: scores.answers["free"] for arm, scores in metrics.items()}
    drawn: list[Figure | None] = [figures.size_against_score(comparison, unit)]
    pairs = forest_pairs(comparison)
    if pairs:
        drawn.append(figures.forest(pairs, comparison.confidence))
    if designs := comparison.designs:
        drawn += [
            design_figures.learning_curves(comparison, designs),
            design_figures.interaction(comparison, designs),
            design_figures.seeds(designs),
        ]
    drawn.append(score_figures.scores_by_level(comparison, metrics))
    if any(scores.by_chapter for scores in free.values()):
        drawn.append(score_figures.scores_by_chapter({arm: scores.by_chapter for arm, scores in free.items()}))
    by_frequency = {arm: scores.by_train_frequency for arm, scores in free.items() if scores.by_train_frequency}
    if by_frequency:
        drawn.append(
            score_figures.scores_by_group(
                "scores_by_train_frequency", "samples of the true label in train", by_frequency, kinds
            )
        )
    by_length = {arm: scores.by_length for arm, scores in free.items() if scores.by_length}
    if by_length:
        drawn.append(score_figures.scores_by_group("scores_by_length", "words of the text", by_length, kinds))
    drawn.append(score_figures.calibration(metrics, kinds))
    logs = {arm: lines for arm, lines in results.logs.items() if lines}
    if logs:
        best = {arm: results.training.get(arm, {}).get("best_step") for arm in logs}
        drawn.append(cost_figures.training_curves(logs, best))
    drawn += [cost_figures.cumulative_cost(comparison, unit), design_figures.pareto(comparison, unit)]
    drawn.append(cost_figures.memory_ledger(comparison.memory_ledger))
    confusions = {
        arm: score_figures.confusion(arm, scores.confusion) for arm, scores in free.items() if scores.confusion
    }
    return Page({figure.name: figure for figure in drawn if figure}, confusions)


def forest_pairs(comparison: Comparison) -> list[PairComparison]:
    """What the forest plot shows: the pairs that the verdict rests on, then those against the baseline."""
    answer = comparison.verdict.answer
    families = ("primary", "baseline")
    return [
        pair
        for family in families
        for pair in comparison.comparisons
        if pair.family == family and pair.answer == answer
    ]


def seconds_of(comparison: Comparison) -> str:
    """Whose seconds a study's costs are: GPU, CPU, or device where both occur."""
    steps = [step for arm in comparison.arms if arm.cost for step in (arm.cost.training, arm.cost.predict) if step]
    units = {step.unit for step in steps}
    return {frozenset({"gpu"}): "GPU", frozenset({"cpu"}): "CPU"}.get(frozenset(units), "device")


# ---------------------------------------------------------------- the page


def render(results: Results, spec: ReportSpec, page: Page, graph: dag_picture.Graph) -> str:
    """The report as HTML."""
    packed = _packed(results) if spec.report.error_browser else None
    style, script = (TEMPLATE / "report.css").read_text("utf-8"), (TEMPLATE / "report.js").read_text("utf-8")
    plotly = get_plotlyjs()
    comparison = results.comparison
    columns = [column for column in SCORES if any(column[0] in arm.scores for arm in comparison.arms)]
    rows = arm_table(comparison, columns)
    return (
        _environment()
        .get_template("page.html")
        .render(
            spec=spec,
            comparison=comparison,
            results=results,
            page=page,
            unit=seconds_of(comparison),
            columns=columns,
            packed=packed,
            token_lengths=token_lengths(results),
            sizes={arm.arm: figures.parameters(arm.size) for arm in comparison.arms},
            graph=graph,
            dag=dag_picture.draw(graph),
            config=yaml.safe_dump(spec.config, sort_keys=False, allow_unicode=True, width=100),
            style=Markup(style),  # ours, and without user text: nothing to escape
            script=Markup(script),
            plotly=Markup(_packed_text(plotly)),
            policy=_policy(script, plotly),
            data=script_json(
                {
                    "figures": {figure.name: json.loads(figure.plot.to_json()) for figure in page.all},
                    "downloads": {"arms.csv": as_csv(rows), "arms.tex": as_latex(rows)},
                    "unit": seconds_of(comparison),
                }
            ),
        )
    )


def write_report(
    path: Path, folder: Path | None, results: Results, spec: ReportSpec, mermaid: str | None = None
) -> None:
    """Write the page and, into `folder`, its figures as SVG."""
    page = make_page(results)
    graph = dag_picture.graph_of_mermaid(mermaid) if mermaid else dag_picture.graph_of_arms(spec.arms)
    html = render(results, spec, page, graph)
    write_text(path, html)
    log.info(
        "%s: %.1f MB, %d arms, %d test samples", path, len(html.encode()) / 1e6, len(results.metrics), len(results.test)
    )
    if folder is not None:
        written = write_figures(page.all, folder)
        log.info("%s: %d figures", folder, len(written))


def script_json(value: Any) -> Markup:
    """JSON that may stand inside a script element: nothing in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for written in FILTERS:
        environment.filters[written.__name__] = written
    return environment


def token_lengths(results: Results) -> list[dict[str, Any]]:
    """Median and 99% quantile of the prompts' tokens, by arm and split, as the arm's own tokenizer counts them."""
    rows = []
    for arm, predictions in results.predictions.items():
        counted = results.training.get(arm, {}).get("prompt_tokens", {})
        rows += [{"arm": arm, "split": split, **lengths} for split, lengths in counted.items()]
        tokens = [prediction.prompt_tokens for prediction in predictions if prediction.prompt_tokens]
        if tokens:
            median, most = np.quantile(tokens, (0.5, 0.99), method="higher")
            rows.append({"arm": arm, "split": "test", "median": int(median), "q99": int(most), "max": max(tokens)})
    return rows


def _packed(results: Results) -> Packed:
    titles = {
        group.group: group.title or ""
        for scores in results.metrics.values()
        for group in scores.answers["free"].by_chapter
    }
    return pack(results.test, results.predictions, titles)


def _packed_text(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _policy(*scripts: str) -> str:
    """A content security policy: no network, and no script but these."""
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


# ---------------------------------------------------------------- the table of arms, to download


def arm_table(comparison: Comparison, columns: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """A row an arm: identity, each score with its interval as shares, and cost; None where there is no number."""
    rows = []
    for arm in comparison.arms:
        row: dict[str, Any] = {"arm": arm.arm, "model": arm.name, "size": arm.size, "training": _treatment(arm)}
        for key, _, _ in columns:
            score = arm.scores.get(key)
            row |= {
                key: score.value if score else None,
                f"{key}_low": score.low if score else None,
                f"{key}_high": score.high if score else None,
                f"{key}_n": score.n if score else None,
            }
        cost = arm.cost
        row |= {
            "training_device_seconds": cost.training.device_seconds if cost and cost.training else None,
            "device_seconds_per_1000_dialogues": cost.per_1000_dialogues.device_seconds if cost else None,
            "energy_wh_per_1000_dialogues": cost.per_1000_dialogues.energy_wh if cost else None,
            "money_per_1000_dialogues": cost.per_1000_dialogues.money if cost else None,
            "peak_allocated_bytes": cost.predict.peak_allocated if cost else None,
            "peak_device_bytes": cost.predict.peak_device if cost else None,
        }
        rows.append(row)
    return rows


def _treatment(arm: ArmSummary) -> str:
    return "finetuned" if arm.finetuned else "untrained"


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with shares as they are. A cell that a spreadsheet would run as a formula is given an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0].keys() if rows else [])
    for row in rows:
        writer.writerow([_harmless(value) for value in row.values()])
    return out.getvalue()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_latex(rows: Sequence[Mapping[str, Any]]) -> str:
    """A booktabs table of the scores in percent with their intervals."""
    if not rows:
        return ""
    titles = {key: title for key, title, _ in SCORES if key in rows[0]}
    lines = [
        "% needs \\usepackage{booktabs}; percent [interval]",
        f"\\begin{{tabular}}{{ll{'r' * len(titles)}}}",
        "\\toprule",
        " & ".join(["Arm", "Size", *map(_latex, titles.values())]) + " \\\\",
        "\\midrule",
    ]
    for row in rows:
        cells = [_latex(row["arm"]), _latex(row["size"] or "--"), *(_latex_score(row, key) for key in titles)]
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _latex_score(row: Mapping[str, Any], key: str) -> str:
    if row[key] is None:
        return "--"
    value, low, high = (100 * row[name] for name in (key, f"{key}_low", f"{key}_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
