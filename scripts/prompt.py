"""Print the prompt that an arm gets for a sample, with its tokens: `prompt.py slm/qwen3b 3 --study studies/mine`.

It needs the study's data and the arm's model card (`snakemake --directory STUDY fetch`), and no GPU.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.runtime import cli
from slingshot.study.shown_prompt import show_prompt


def main() -> None:
    parser = cli.make_parser(__doc__)
    parser.add_argument("arm", help="e.g. slm/qwen3b")
    parser.add_argument("sample", type=int, nargs="?", default=1, help="number of the sample, from 1")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder")
    given = parser.parse_args()
    print(show_prompt(given.study, given.arm, given.sample, given.split))


if __name__ == "__main__":
    cli.run(main)
