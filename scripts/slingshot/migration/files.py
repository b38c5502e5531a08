"""Reading the files of the earlier pipeline and writing ours."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from slingshot.core.errors import StudyError
from slingshot.core.files import write_json, write_text
from slingshot.core.yaml_files import read_yaml
from slingshot.migration.config import migrate_config, old_slm_name
from slingshot.migration.results import migrate_results

log = logging.getLogger(__name__)

REPOSITORY = Path(__file__).parents[3]
PROMPT = "prompts/icd10cm.yaml"


def rewrite_config(old: Path, new: Path, train_samples: int | None) -> None:
    """Write a config as config.yaml, with what could not be carried over as comments, and the prompt beside it.

    Raises:
        StudyError: `new` exists, `old` cannot be read, or it is no config that can be migrated.
    """
    refuse_existing(new)
    migrated = migrate_config(read(old), train_samples)
    for note in migrated.notes:
        log.info(note)
    write_text(new, config_text(old, migrated.config, migrated.notes))
    put_prompt_beside(new)
    log.info("%s written", new)


def rewrite_results(old: Path, new: Path, slm: str | None, old_config: Path | None) -> None:
    """Write results as results.json; `slm`, or the old config, names the model of Baseline_SLM and Finetuned_SLM.

    Raises:
        StudyError: `new` exists, a file cannot be read, or a key is not one of old results.
    """
    refuse_existing(new)
    results = read(old)
    write_json(new, migrate_results(results, slm or (old_slm_name(read(old_config)) if old_config else None)))
    log.info("%s written", new)


def refuse_existing(new: Path) -> None:
    if new.exists():
        raise StudyError(f"{new} exists already: name another file, or remove it first")


def read(path: Path) -> Any:
    """JSON is YAML, too; raises as read_yaml."""
    return read_yaml(path)


def put_prompt_beside(config: Path) -> None:
    """A study's prompt is a file of its own; the earlier pipeline's stood in its code."""
    prompt = config.parent / PROMPT
    if not prompt.exists():
        write_text(prompt, (REPOSITORY / PROMPT).read_text(encoding="utf-8"))
        log.info("%s written: the prompt, which differs from the earlier pipeline's", prompt)


def config_text(old: Path, config: dict[str, Any], notes: list[str]) -> str:
    head = [f"Migrated from {old.name} by scripts/migrate.py.", *notes]
    return "".join(f"# {' '.join(line.split())}\n" for line in head) + "\n" + yaml.safe_dump(config, sort_keys=False)
