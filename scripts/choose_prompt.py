"""Choose the prompt of an untrained model that does best on validation. The test split is not read."""

from __future__ import annotations

from pathlib import Path

from slingshot.analysis.prompt_choice import choose_prompt
from slingshot.artifacts.layout import ResultFiles
from slingshot.config.specs import ChoosePromptSpec, parse_spec
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "ChoosePromptSpec")
    parser.add_argument("--arm", required=True, help="e.g. llm/llama8b/best_prompt")
    parser.add_argument("--results", type=Path, required=True, help="results/, where the candidates' folders are")
    given = parser.parse_args()
    choose_prompt(parse_spec(ChoosePromptSpec, given.spec), ResultFiles(given.results), given.arm)


if __name__ == "__main__":
    cli.run(main)
