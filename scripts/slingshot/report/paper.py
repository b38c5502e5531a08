"""What a paper needs of a study: a methods paragraph, the prompts as sent, scores by label, tables as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slingshot.artifacts.comparison import Comparison
from slingshot.artifacts.splits import LABELS
from slingshot.config.specs import PromptText, ReportSpec
from slingshot.core.environment import slingshot_version
from slingshot.core.files import write_text
from slingshot.prompting.messages import Message, chat_messages
from slingshot.prompting.template import Shown
from slingshot.report.formats import MINUS, points
from slingshot.report.methods import methods_of
from slingshot.report.results import Results
from slingshot.report.tables import arm_table, as_csv, as_latex, columns_of, latex_text

SHOWN_LABELS = "(the labels of the study, one per line)"

SHOWN_CANDIDATES = "(the labels that fit this text best, one per line)"

LONGEST_TEXT = 1_500  # characters of the sample that a rendered prompt shows


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt that one or several arms share: its two texts, and its messages for one sample."""

    arms: list[str]
    system: str
    user: str
    messages: list[Message]


@dataclass(frozen=True)
class Paper:
    """The section "For a paper"."""

    version: str
    methods: list[str]
    prompts: list[ShownPrompt]
    labels: list[dict[str, Any]]


def make_paper(results: Results, spec: ReportSpec) -> Paper:
    """Collect the section; a sample's text is shown only where the error browser may show texts."""
    text = str(results.test["text"].iloc[0]) if spec.report.error_browser and len(results.test) else "(a text)"
    return Paper(slingshot_version(), methods_of(results), prompts_of(results, text), label_table(results))


def prompts_of(results: Results, text: str) -> list[ShownPrompt]:
    """Each prompt once, with the arms that answered by it, as its steps' records hold it."""
    shown: dict[str, ShownPrompt] = {}
    for arm, steps in results.steps.items():
        written = steps[-1].spec.get("prompt") if steps else None
        if not isinstance(written, Mapping):
            continue
        prompt = PromptText.model_validate(written)
        key = f"{prompt.system}\0{prompt.user}\0{prompt.answer}"
        if key not in shown:
            cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + " […]"
            messages = chat_messages(prompt, cut, shown=Shown(SHOWN_LABELS, SHOWN_CANDIDATES))
            shown[key] = ShownPrompt([], prompt.system, prompt.user, messages)
        shown[key].arms.append(arm)
    return list(shown.values())


def label_table(results: Results) -> list[dict[str, Any]]:
    """A row per label, the most frequent in test first: its test samples, and each arm's share of right answers.

    Where samples have several labels each arm has the label's F1 instead.
    """
    if results.comparison.several:
        return _label_f1(results)
    truths = [str(label) for label in results.test["label"]]
    ids = [str(sample) for sample in results.test["sample_id"]]
    right = {
        arm: {one.sample_id for one in answers if one.code == one.label} for arm, answers in results.predictions.items()
    }
    of_label: dict[str, list[str]] = {}
    for sample, label in zip(ids, truths, strict=True):
        of_label.setdefault(label, []).append(sample)
    return [
        {"label": label, "n": len(samples)}
        | {arm: sum(sample in found for sample in samples) / len(samples) for arm, found in right.items()}
        for label, samples in sorted(of_label.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _label_f1(results: Results) -> list[dict[str, Any]]:
    answered = {arm: [set(one.codes or []) for one in answers] for arm, answers in results.predictions.items()}
    having: dict[str, set[int]] = {}
    for number, labels in enumerate(results.test[LABELS.name]):
        for label in labels:
            having.setdefault(str(label), set()).add(number)
    rows = []
    for label, true in sorted(having.items(), key=lambda item: (-len(item[1]), item[0])):
        row: dict[str, Any] = {"label": label, "n": len(true)}
        for arm, sets in answered.items():
            predicted = {number for number, each in enumerate(sets) if label in each}
            row[arm] = 2 * len(true & predicted) / (len(true) + len(predicted))
        rows.append(row)
    return rows


def pair_table(comparison: Comparison) -> list[dict[str, Any]]:
    """A row per pair: its difference as a share with both intervals, and its tests."""
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "family": pair.family,
            "family_size": pair.family_size,
            "answers": pair.answer,
            "difference": pair.difference.value,
            "difference_low": pair.difference.low,
            "difference_high": pair.difference.high,
            "simultaneous_low": pair.simultaneous.low,
            "simultaneous_high": pair.simultaneous.high,
            "only_first_right": pair.only_first_right,
            "only_second_right": pair.only_second_right,
            "p": pair.p,
            "p_adjusted": pair.adjusted_p,
            "n": pair.difference.n,
        }
        for pair in comparison.comparisons
    ]


def tables_of(results: Results) -> dict[str, str]:
    """File name to content: arms, paired differences and labels as CSV, the first two as LaTeX, too; the methods."""
    comparison = results.comparison
    arms, pairs = arm_table(comparison, columns_of(comparison)), pair_table(comparison)
    return {
        "arms.csv": as_csv(arms),
        "arms.tex": as_latex(arms),
        "differences.csv": as_csv(pairs),
        "differences.tex": pairs_as_latex(pairs),
        "labels.csv": as_csv(label_table(results)),
        "methods.txt": "\n\n".join(methods_of(results)) + "\n",
    }


def pairs_as_latex(pairs: Sequence[Mapping[str, Any]]) -> str:
    """A booktabs table of paired differences in percentage points with simultaneous intervals."""
    if not pairs:
        return ""
    lines = [
        "% needs \\usepackage{booktabs}; points [simultaneous interval]; pairs: how many p is adjusted over",
        "\\begin{tabular}{llllrrrr}",
        "\\toprule",
        "First & Second & Answers & Family & Pairs & Difference & $p$, adjusted & $n$ \\\\",
        "\\midrule",
    ]
    for pair in pairs:
        keys = ("difference", "simultaneous_low", "simultaneous_high")
        value, low, high = (f"${points(pair[key]).replace(MINUS, '-')}$" for key in keys)  # as math, a minus is one
        p = pair["p_adjusted"]
        p_text = "--" if p is None else "$<$ 0.001" if p < 0.001 else f"{p:.3f}"
        named = [latex_text(str(pair[key])) for key in ("first", "second", "answers", "family", "family_size")]
        lines.append(" & ".join([*named, f"{value} [{low}, {high}]", p_text, str(pair["n"])]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write the tables beside the figures."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in tables_of(results).items():
        write_text(folder / name, content)
        written.append(folder / name)
    return written
