"""Every number of a config has bounds: what lies beyond them would fail hours after `snakemake -n` let it pass."""

import json

import pytest
import yaml

from slingshot.config.study import Study, load_study, parse_study
from slingshot.core.errors import StudyError


def numbers(node, where=""):
    """Each number of a JSON schema: where it stands, and its part of the schema."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number"):
            yield where, node
        for key, value in node.items():
            yield from numbers(value, f"{where}.{key}")
    elif isinstance(node, list):
        for value in node:
            yield from numbers(value, where)


def test_every_number_has_both_bounds():
    found = list(numbers(Study.model_json_schema()))
    open_ended = [
        where
        for where, part in found
        if not ({"minimum", "exclusiveMinimum"} & set(part) and {"maximum", "exclusiveMaximum"} & set(part))
    ]
    assert len(found) > 70
    assert open_ended == []


def study(**changes):
    model = {"source": {"hub": "a/b"}, "size": "1B"}
    return {"data": {"source": {"path": "a.csv"}}, "llm": {"l": model}, "slm": {"s": model}, **changes}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**32}, "seed must be less than"),
        ({"few_shot": {"seed": -1}}, "few_shot.seed"),
        ({"statistics": {"resamples": 300_000_000}}, "statistics.resamples must be at most"),
        ({"statistics": {"confidence": 1 - 1e-16}}, "statistics.confidence must be at most 0.9999"),
        ({"statistics": {"confidence": 0.01}}, "statistics.confidence must be at least 0.5"),
        ({"finetune": {"lora": {"r": 10**9}}}, "finetune.lora.r must be at most 4096"),
        ({"finetune": {"learning_rate": float("inf")}}, "finetune.learning_rate must be a finite number"),
        ({"cost": {"gpu_hour_price": float("nan")}}, "cost.gpu_hour_price must be a finite number"),
        ({"prompt": {"max_tokens": 10**12}}, "prompt.max_tokens must be at most"),
        (
            {"designs": {"sweep": {"models": ["s"], "grid": {"lora.r": [1, 10**9]}}}},
            "designs.sweep.grid: finetune.lora.r",
        ),
        (
            {"designs": {"sweep": {"models": ["s"], "grid": {str(n): list(range(100)) for n in range(6)}}}},
            "designs.sweep is wrong: makes 1,000,000,000,000 candidates",
        ),
    ],
)
def test_what_would_fail_hours_later_is_named_with_its_bound(changes, key):
    with pytest.raises(StudyError) as fault:
        parse_study(study(**changes))
    assert key in str(fault.value)
    assert len(str(fault.value)) < 1000


def test_infinities_of_yaml_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(study()))) + "finetune: {epochs: .inf}\n")
    with pytest.raises(StudyError, match=r"finetune\.epochs must be a finite number"):
        load_study(path)
