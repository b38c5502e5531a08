"""Rewrite a config or results of the earlier pipeline: `migrate.py config OLD NEW`, `migrate.py results OLD NEW`.

OLD is JSON or YAML. NEW must not exist yet. What of a config could not be carried over is said, and stands in NEW as a
comment; the prompt file is put beside it where there is none.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_text
from slingshot.migration import migrate_config, migrate_results, old_slm_name
from slingshot.runtime import cli

log = logging.getLogger(__name__)

HOUSE = Path(__file__).parents[1]
PROMPT = "prompts/icd10cm.yaml"


def main() -> None:
    parser = cli.parser(__doc__)
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
    if given.new.exists():
        raise StudyError(f"{given.new} exists already: name another file, or remove it first")
    old = read(given.old)
    if given.what == "config":
        migrated = migrate_config(old, given.train_samples)
        for note in migrated.notes:
            log.info(note)
        write_text(given.new, config_text(given.old, migrated.config, migrated.notes))
        put_prompt_beside(given.new)
    else:
        slm = given.slm or (old_slm_name(read(given.old_config)) if given.old_config else None)
        write_json(given.new, migrate_results(old, slm))
    log.info("%s written", given.new)


def read(path: Path) -> Any:
    """JSON is YAML too.

    Raises:
        StudyError: the file is missing or is neither.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(f"{path} is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is neither JSON nor YAML: {error}") from None


def put_prompt_beside(config: Path) -> None:
    """A study's prompt is a file of its own; the earlier pipeline's stood in its code."""
    prompt = config.parent / PROMPT
    if not prompt.exists():
        write_text(prompt, (HOUSE / PROMPT).read_text(encoding="utf-8"))
        log.info("%s written: the prompt, which differs from the earlier pipeline's", prompt)


def config_text(old: Path, config: dict[str, Any], notes: list[str]) -> str:
    head = [f"Migrated from {old.name} by scripts/migrate.py.", *notes]
    return "".join(f"# {' '.join(line.split())}\n" for line in head) + "\n" + yaml.safe_dump(config, sort_keys=False)


if __name__ == "__main__":
    cli.run(main)
