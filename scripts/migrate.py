"""Rewrite a config or results of the earlier pipeline: `migrate.py config OLD NEW`, `migrate.py results OLD NEW`.

OLD is JSON or YAML. NEW must not exist yet. What could not be carried over is logged, and is in a migrated config as
comments; the prompt file is put beside it where there is none.
"""

from __future__ import annotations

from pathlib import Path

from slingshot.migration.files import rewrite_config, rewrite_results
from slingshot.runtime import cli


def main() -> None:
    parser = cli.make_parser(__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    config = what.add_parser("config", help="a config with baseline_llms and slm_name, or llm_models and slm_models")
    results = what.add_parser("results", help="results with Baseline_LLM_NAME, Baseline_SLM and Finetuned_SLM")
    for kind, new in ((config, "config.yaml"), (results, "results.json")):
        kind.add_argument("old", type=Path, help="JSON or YAML")
        kind.add_argument("new", type=Path, help=f"{new}, written")
    config.add_argument("--train-samples", type=int, help="of the data set; turns warm-up steps into a share of all")
    named = results.add_mutually_exclusive_group()
    named.add_argument("--slm", help="the model that Baseline_SLM and Finetuned_SLM are of")
    named.add_argument("--old-config", type=Path, help="the old config, which names it")
    given = parser.parse_args()
    if given.what == "config":
        rewrite_config(given.old, given.new, given.train_samples)
    else:
        rewrite_results(given.old, given.new, given.slm, given.old_config)


if __name__ == "__main__":
    cli.run(main)
