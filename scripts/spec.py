"""Print what a step of a study receives, as JSON: `spec.py finetune slm/qwen3b | ...`, for a step's --spec.

With it each program runs without Snakemake:
  python scripts/spec.py finetune slm/qwen3b > spec.json
  python scripts/finetune.py --spec @spec.json --arm slm/qwen3b ...
"""

from __future__ import annotations

from pathlib import Path

from slingshot.config.study import load_study
from slingshot.runtime import cli
from slingshot.study.steps import STEPS, step_spec


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("target", nargs="?", default="", help="a model's key (fetch_model) or an arm, e.g. slm/qwen3b")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder")
    given = parser.parse_args()
    study = load_study(given.study / "config.yaml")
    print(step_spec(study, given.study, given.step, given.target).model_dump_json(indent=2))


if __name__ == "__main__":
    cli.run(main)
