"""Answer new dialogues with an arm of a finished study; no labels are needed.

    python scripts/answer.py --study my-study --arm slm/qwen3b monday.csv --text Dialogue --output monday-coded.csv

The input is CSV, TSV, JSON Lines, Parquet or a workbook, or - for standard input (JSON Lines, or a dialogue on each
line). The arm answers with its own prompt, window, examples, adapter and decoding; an answer that was given before
comes from the cache. The output has a row per text: code, description, probability, candidates, and needs_review
where the study fitted a threshold. How the texts differ from the study's own is logged on standard error.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.deployment.answer import AnswerJob, answer
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("source", metavar="INPUT", help="file with the dialogues, or - for standard input")
    parser.add_argument("--study", type=Path, required=True, help="the study's folder, with its results")
    parser.add_argument("--arm", required=True, help="e.g. slm/qwen3b, baseline/tfidf")
    parser.add_argument("--output", type=Path, help="file to write: .csv, .jsonl or .parquet (standard output)")
    parser.add_argument(
        "--text",
        action="append",
        metavar="COLUMN",
        help="column of the dialogue (the study's); once for each column",
    )
    parser.add_argument("--identifier", help="column to copy beside each answer")
    parser.add_argument("--label", help="column of the right code, where there is one: then the answers are scored")
    parser.add_argument("--predictions", type=Path, help="also write predictions.jsonl as the study does")
    parser.add_argument("--drift", type=Path, help="write how the texts differ from the study's own, JSON")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="where to run (as the study did)")
    parser.add_argument("--force", action="store_true", help="answer again what the cache holds")
    answer(AnswerJob(**vars(parser.parse_args())))


if __name__ == "__main__":
    cli.run(main)
