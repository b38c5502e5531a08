"""The table of arms: as rows, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from slingshot.artifacts.comparison import ArmSummary, Comparison
from slingshot.core.files import without_formula

# The columns of the table of arms that hold a score: its key, its heading and what it says.
SCORES = (
    ("exact_match", "Exact match", "the answer is the label"),
    ("constrained_exact_match", "Exact match, constrained", "decoding may say only known labels"),
    ("micro_f1", "Micro F1", "of all labels' hits together; depends on no label's count"),
    ("macro_f1", "Macro F1", "mean over the labels of a split of this size; rare labels make it depend on the size"),
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
    ("brier", "Brier score", "mean squared distance of the best candidate's probability and outcome; low is good"),
    ("calibration_error", "Calibration error", "root mean squared, without the bias of small bins; low is good"),
)


# Likewise where samples have several labels.
SET_SCORES = (
    ("micro_f1", "Micro F1", "over all pairs of a sample and a label"),
    ("constrained_micro_f1", "Micro F1, constrained", "decoding may say only known labels"),
    ("micro_precision", "Micro precision", "share of the answered labels that are right"),
    ("micro_recall", "Micro recall", "share of the true labels that are answered"),
    ("macro_f1", "Macro F1", "mean over the labels of the test split"),
    ("macro_f1_code_set", "Macro F1, code set", "mean over all labels of the study; one that test lacks counts 0"),
    ("examples_f1", "F1 per sample", "mean over the samples; rare and frequent labels count the same"),
    ("exact_match", "Exact match", "the whole set is right"),
    ("constrained_exact_match", "Exact match, constrained", "decoding may say only known labels"),
    ("category_micro_f1", "Category", "micro F1 of the first three characters"),
    ("block_micro_f1", "Block", "micro F1 of the block of categories"),
    ("chapter_micro_f1", "Chapter", "micro F1 of the chapter"),
    ("hierarchical_f1", "Hierarchical F1", "micro, over sets with all their ancestors (Kiritchenko et al. 2006)"),
    ("mean_average_precision", "MAP", "mean average precision of the ranked labels"),
    *(
        (f"{name}_at_{k}", f"{name[0].upper()}@{k}", f"{name} of the {k} labels that are ranked first")
        for k in (5, 8, 15)
        for name in ("precision", "recall")
    ),
    ("parsable", "Parsable", "a set could be read from the answer"),
    ("valid", "Valid", "each label of the answer is in the code set"),
    ("known", "Known", "each label of the answer is one of this study"),
)


def columns_of(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The columns for which any arm has a score."""
    columns = SET_SCORES if comparison.several else SCORES
    return [column for column in columns if any(column[0] in arm.scores for arm in comparison.arms)]


def arm_table(comparison: Comparison, columns: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """A row per arm: identity, each score with its interval as shares, and cost; None where there is no number."""
    rows = []
    for arm in comparison.arms:
        row: dict[str, Any] = {"arm": arm.arm, "model": arm.name, "size": arm.size, "training": arm.treatment}
        for key, _, _ in columns:
            score = arm.scores.get(key)
            row |= {
                key: score.value if score else None,
                f"{key}_low": score.low if score else None,
                f"{key}_high": score.high if score else None,
                f"{key}_n": score.n if score else None,
            }
        cost, mean = arm.cost, arm.seed_means.get("free")
        row |= {
            "seeds": mean.runs if mean else None,
            f"{comparison.estimand}_mean_of_seeds": mean.value if mean else None,
            f"{comparison.estimand}_mean_of_seeds_low": mean.low if mean else None,
            f"{comparison.estimand}_mean_of_seeds_high": mean.high if mean else None,
            "training_device_seconds": cost.training.device_seconds if cost and cost.training else None,
            "device_seconds_per_1000_dialogues": cost.per_1000_dialogues.device_seconds if cost else None,
            "energy_wh_per_1000_dialogues": cost.per_1000_dialogues.energy_wh if cost else None,
            "money_per_1000_dialogues": cost.per_1000_dialogues.money if cost else None,
            "peak_allocated_bytes": cost.predict.peak_allocated if cost else None,
            "peak_device_bytes": cost.predict.peak_device if cost else None,
        }
        rows.append(row)
    return rows


def leaders(comparison: Comparison) -> list[tuple[str, ArmSummary]]:
    """The best arm of each side under each treatment, by the estimand, each with what it is.

    Arms that repeat a recipe or weaken it (other seeds, parts of train) lead nothing, nor does a human coder. One with
    several seeds has the score of their mean.
    """
    groups: dict[tuple[str, bool], list[ArmSummary]] = {}
    for arm in comparison.arms:
        if (arm.competes or not arm.finetuned) and not arm.human:
            groups.setdefault((arm.side, arm.finetuned or arm.side == "rival"), []).append(arm)
    order = [(side, trained) for side in ("small", "large", "rival") for trained in (True, False)]
    return [
        (
            "Best of neither side"
            if side == "rival"
            else f"Best {'finetuned' if trained else 'untrained'} {side} model",
            max(groups[side, trained], key=lambda arm: arm.recipe_score.value),
        )
        for side, trained in order
        if (side, trained) in groups
    ]


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV with shares as they are. A cell that a spreadsheet would run as a formula is given an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0].keys() if rows else [])
    for row in rows:
        writer.writerow([without_formula(value) for value in row.values()])
    return out.getvalue()


def as_latex(rows: Sequence[Mapping[str, Any]]) -> str:
    """A booktabs table of the scores in percent with their intervals."""
    if not rows:
        return ""
    names = {key: title for key, title, _ in (*SET_SCORES, *SCORES)}
    titles = {key: names[key] for key in rows[0] if key in names}
    lines = [
        "% needs \\usepackage{booktabs}; percent [interval]",
        f"\\begin{{tabular}}{{ll{'r' * len(titles)}}}",
        "\\toprule",
        " & ".join(["Arm", "Size", *map(latex_text, titles.values())]) + " \\\\",
        "\\midrule",
    ]
    for row in rows:
        cells = [latex_text(row["arm"]), latex_text(row["size"] or "--"), *(_latex_score(row, key) for key in titles)]
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


def latex_text(text: str) -> str:
    """A text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)
