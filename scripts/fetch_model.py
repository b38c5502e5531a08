"""Fetch one model, at the revision that the study names, and write its card.

The only step that needs the network for models. A hub model stays in the hub's cache (HF_HOME); a GGUF, and a
network cut to fewer layers, become plain safetensors in a folder beside the card. Models of one source and depth
share that folder.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.config.specs import FetchModelSpec, parse_spec
from slingshot.models.fetching import fetch
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    cli.add_spec(parser, "FetchModelSpec")
    parser.add_argument("--study", type=Path, default=Path(), help="the study's folder; relative sources count from it")
    parser.add_argument("--card", type=Path, required=True, help="results/models/MODEL.json, written")
    arguments = parser.parse_args()
    fetch(parse_spec(FetchModelSpec, arguments.spec), arguments.study, arguments.card).write(arguments.card)


if __name__ == "__main__":
    cli.run(main)
