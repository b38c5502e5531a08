"""Results of the earlier pipeline under the keys of results.json. docs/migration.md has the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from slingshot.core.errors import StudyError
from slingshot.migration.sizes import is_large, size_of


def migrate_results(old: Any, slm: str | None = None) -> dict[str, dict[str, Any]]:
    """Rewrite old results under the keys of results.json; what already stands under one is kept, dots of its name
    written as underscores.

    Args:
        old: `Baseline_LLM_{name}`, `Baseline_SLM` and `Finetuned_SLM` to their scores.
        slm: the old config's `slm_name`, which the last two keys leave out.

    Raises:
        StudyError: a key is not known, the SLM's name is needed and not given, or two results would
            stand under one key.
    """
    if not isinstance(old, Mapping) or not all(isinstance(scores, Mapping) for scores in old.values()):
        raise StudyError("the old results must map each arm's key to its scores")
    new: dict[str, dict[str, Any]] = {}
    for key, scores in old.items():
        renamed, entry = _migrate_result(key, dict(scores), slm)
        if renamed in new:
            raise StudyError(f"two of the old results would stand under {renamed}: remove one, {key} being the second")
        new[renamed] = entry
    return new


def _migrate_result(key: str, scores: dict[str, Any], slm: str | None) -> tuple[str, dict[str, Any]]:
    if re.fullmatch(r"(LLM|SLM)_.+_(un|fine)(trained|tuned)(_.+)?|BASELINE_.+", key):
        return key.replace(".", "_"), scores
    if key in ("Baseline_SLM", "Finetuned_SLM"):
        if slm is None:
            raise StudyError(f"{key} does not say which model it is of: give the old config, or the name by --slm")
        name, status = slm, "finetuned" if key == "Finetuned_SLM" else "untrained"
    elif key.startswith("Baseline_LLM_"):
        name, status = key.removeprefix("Baseline_LLM_"), "untrained"
    else:
        raise StudyError(f"{key} is no key of old results: Baseline_LLM_NAME, Baseline_SLM or Finetuned_SLM are")
    short = name.rsplit("/", maxsplit=1)[-1]
    size = size_of(short, scores.get("model_size"), f"add a `model_size` to {key}")
    kind = "LLM" if is_large(size) else "SLM"
    about = {"model_type": kind, "model_size": size, "training_status": status}
    return f"{kind}_{short.replace('.', '_')}_{status}", about | {k: v for k, v in scores.items() if k not in about}
