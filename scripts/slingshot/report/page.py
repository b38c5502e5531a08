"""The report: everything that results/ says, as one HTML file that opens from the disk without a network.

The page's texts are in template/. All that comes from data, models or the config is escaped there by Jinja, and in
JSON by `script_json`; the page's policy allows no script but its own two, which it knows by digest.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from slingshot.analysis.headline import ONE_SIZE
from slingshot.artifacts.comparison import Comparison, PairComparison
from slingshot.config.models import parameters_of
from slingshot.config.specs import ReportSpec
from slingshot.core.files import write_text
from slingshot.core.terminal import say
from slingshot.data.summary import warnings_of
from slingshot.report import dag as dag_picture
from slingshot.report import formats
from slingshot.report.error_browser import BrowserData, pack
from slingshot.report.figures import costs as cost_figures
from slingshot.report.figures import designs as design_figures
from slingshot.report.figures import overview as figures
from slingshot.report.figures import scores as score_figures
from slingshot.report.figures import sets as set_figures
from slingshot.report.figures.export import write_figures
from slingshot.report.figures.selective import selective_coding
from slingshot.report.figures.style import Figure, styles_of
from slingshot.report.paper import make_paper, tables_of, write_tables
from slingshot.report.results import Results
from slingshot.report.tables import columns_of, leaders

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).parent / "template"

FILTERS: tuple[Callable[..., str], ...] = (
    formats.level,
    formats.sentence_case,
    formats.percent,
    formats.points,
    formats.interval,
    formats.signed_interval,
    formats.with_interval,
    formats.p_value,
    formats.p_in_words,
    formats.number,
    formats.count,
    formats.gibibytes,
    formats.spelled_out,
    design_figures.train_size,
)


@dataclass(frozen=True)
class Page:
    """The figures of a page by their names; `confusions` by arm."""

    figures: dict[str, Figure]
    confusions: dict[str, Figure]

    @property
    def all(self) -> list[Figure]:
        return [*self.figures.values(), *self.confusions.values()]


def make_page(results: Results) -> Page:
    """Draw every figure that the results allow."""
    comparison, metrics = results.comparison, results.metrics
    unit = seconds_of(comparison)
    kinds = {arm.arm: arm.kind for arm in comparison.arms}
    styles = styles_of(comparison.arms)
    free = {arm: scores.answers["free"] for arm, scores in metrics.items()}
    drawn: list[Figure | None] = [figures.size_against_score(comparison, unit)]
    pairs = forest_pairs(comparison)
    if pairs:
        drawn.append(figures.forest(pairs, comparison.confidence, comparison.measure))
    if designs := comparison.designs:
        drawn += [
            design_figures.learning_curves(comparison, designs),
            design_figures.interaction(comparison, designs),
            design_figures.seeds(comparison, designs),
        ]
    drawn += set_figures.draw(comparison, metrics)
    drawn.append(score_figures.scores_by_level(comparison, metrics))
    if score_figures.has_groups({arm: scores.by_chapter for arm, scores in free.items()}):
        drawn.append(score_figures.scores_by_chapter({arm: scores.by_chapter for arm, scores in free.items()}))
    by_frequency = {arm: scores.by_train_frequency for arm, scores in free.items() if scores.by_train_frequency}
    if score_figures.has_groups(by_frequency):
        drawn.append(
            score_figures.scores_by_group(
                "scores_by_train_frequency", "samples of the true label in train", by_frequency, styles
            )
        )
    by_length = {arm: scores.by_length for arm, scores in free.items() if scores.by_length}
    if score_figures.has_groups(by_length):
        drawn.append(score_figures.scores_by_group("scores_by_length", "words of the text", by_length, styles))
    drawn.append(score_figures.calibration(comparison, metrics, styles))
    drawn.append(selective_coding(comparison, kinds))
    logs = {arm: lines for arm, lines in results.logs.items() if lines}
    if logs:
        best = {arm: results.training.get(arm, {}).get("best_step") for arm in logs}
        drawn.append(cost_figures.training_curves(logs, best, styles))
    drawn += [cost_figures.cumulative_cost(comparison, unit), design_figures.pareto(comparison, unit)]
    drawn.append(cost_figures.memory_ledger(comparison.memory_ledger))
    winner = comparison.verdict.best  # the page opens on its confusion
    confusions = {
        arm: score_figures.confusion(arm, scores.confusion)
        for arm, scores in sorted(free.items(), key=lambda item: item[0] != winner)
        if scores.confusion
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
    units = {step.unit for step in steps} - {"api"}  # an endpoint's seconds are nobody's
    return {frozenset({"gpu"}): "GPU", frozenset({"cpu"}): "CPU"}.get(frozenset(units), "device")


def has_prices(comparison: Comparison) -> bool:
    """Whether any arm's cost is known in money."""
    return comparison.gpu_hour_price is not None or any(
        arm.cost is not None and arm.cost.predict.money is not None for arm in comparison.arms
    )


def render(results: Results, spec: ReportSpec, page: Page, graph: dag_picture.Graph) -> str:
    """The report as HTML."""
    packed = _packed(results) if spec.report.error_browser else None
    style, script = (TEMPLATE / "report.css").read_text("utf-8"), (TEMPLATE / "report.js").read_text("utf-8")
    plotly = get_plotlyjs()
    comparison = results.comparison
    columns = columns_of(comparison)
    return (
        _environment()
        .get_template("page.html")
        .render(
            spec=spec,
            comparison=comparison,
            results=results,
            doubts=warnings_of(results.dataset),
            page=page,
            unit=seconds_of(comparison),
            priced=has_prices(comparison),
            asked={arm: step.endpoint for arm, steps in results.steps.items() for step in steps if step.endpoint},
            columns=columns,
            warnings=[*warnings_of_sizes(results), *warnings_of_steps(results)],
            leaders=leaders(comparison),
            styles=styles_of(comparison.arms),
            packed=packed,
            paper=make_paper(results, spec),
            token_lengths=token_lengths(results),
            sizes={arm.arm: parameters_of(arm.size) for arm in comparison.arms},
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
                    "downloads": tables_of(results),
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
        "%s: %.1f MB, arms: %d, test samples: %d",
        path,
        len(html.encode()) / 1e6,
        len(results.metrics),
        len(results.test),
    )
    say(f"the report is {path.absolute()}")
    if folder is not None:
        figures_written = write_figures(page.all, folder)
        log.info("%s: %d figures, %d tables", folder, len(figures_written), len(write_tables(results, folder)))


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


def warnings_of_sizes(results: Results) -> list[str]:
    """Models whose `size` in the config is not that of their weights; all statements on sizes rest on the config's."""
    found = {}
    for arm in results.comparison.arms:
        size, counted = parameters_of(arm.size), (results.cards.get(arm.model) or {}).get("parameters")
        if size and counted and max(size / counted, counted / size) > ONE_SIZE:
            found[arm.model] = (
                f"{arm.model}: the config says size: {arm.size}, and its weights have {counted:,} parameters. What is "
                "said of sizes here goes by the config: correct it there."
            )
    return list(found.values())


def warnings_of_steps(results: Results) -> list[str]:
    """What the arms' steps say that makes their scores doubtful, each with the arms that it is of."""
    arms: dict[str, list[str]] = {}
    for arm, steps in results.steps.items():
        for warning in dict.fromkeys(warning for step in steps for warning in step.warnings):
            arms.setdefault(warning, []).append(arm)
    return [f"{', '.join(named)}: {warning}." for warning, named in arms.items()]


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


def _packed(results: Results) -> BrowserData:
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
