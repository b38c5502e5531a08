"""Predictions of finished runs: the same run again returns them without a tokenizer, torch or a model.

The cache of answers has a key per prompt, and prompts have to be made to know them: that costs the imports of
transformers and torch. A finished run is kept beside them under the digest of all that its predictions depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from slingshot.artifacts.predictions import Prediction
from slingshot.artifacts.records import StepRecord
from slingshot.generation.cache import PredictionCache

# What a record says of its answers, whether they were computed or kept.
KEPT = ("notes", "warnings", "dtype", "answers_key")


def run_key(facts: Mapping[str, Any]) -> str:
    """What a run's predictions depend on (spec, inputs, versions, code; JSON values), as a hex digest."""
    return "run " + hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def recall_run(cache: PredictionCache, key: str, record: StepRecord) -> list[Prediction] | None:
    """The predictions of the run with this key, with what its record says of them; None where none has ended."""
    kept = cache.get([key]).get(key)
    if kept is None:
        return None
    for name in KEPT:
        setattr(record, name, kept[name])
    record.cached_samples, record.fresh_tokens = len(kept["predictions"]), 0
    return [Prediction.model_validate(row) for row in kept["predictions"]]


def keep_run(cache: PredictionCache, key: str, record: StepRecord, predictions: Sequence[Prediction]) -> None:
    """Keep a run that has ended, in one transaction."""
    rows = [prediction.model_dump(mode="json") for prediction in predictions]
    cache.put({key: {"predictions": rows, **{name: getattr(record, name) for name in KEPT}}})
