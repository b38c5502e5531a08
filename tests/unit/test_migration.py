"""Configs and results of the earlier pipeline become ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slingshot.config import arms_of, load_study, parse_study, result_key
from slingshot.errors import StudyError
from slingshot.migration import migrate_config, migrate_results, old_slm_name, size_of

PROGRAM = Path(__file__).parents[2] / "scripts/migrate.py"

MIXED = {
    "model": {
        "baseline_llms": [
            {"name": "Qwen/Qwen2.5-3B-Instruct"},
            {"name": "meta-llama/Llama-3.2-3B-Instruct", "load_in_4bit": False},
            {"name": "mistralai/Mistral-7B-Instruct-v0.3", "load_in_4bit": True, "device_map": "auto"},
        ],
        "slm_name": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "max_seq_length": 2048,
    },
    "data": {"train_ratio": 0.8, "val_ratio": 0.1, "test_ratio": 0.1, "seed": 7},
    "training": {
        "learning_rate": 1e-4,
        "num_epochs": 2,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 4,
        "warmup_steps": 100,
        "eval_steps": 50,
        "early_stopping_patience": 3,
        "lora": {"r": 64, "alpha": 128, "dropout": 0.1},
    },
    "generation": {"temperature": 0.7, "max_new_tokens": 256, "batch_size": 48},
    "experiment": {"run_baseline_llm": True, "run_baseline_slm": True, "run_finetuned_slm": True, "name": "march"},
}

SPLIT = {
    "model": {
        "llm_models": [
            {"name": "meta-llama/Meta-Llama-3.1-8B-Instruct", "size": "8B"},
            {"name": "mistralai/Mistral-7B-Instruct-v0.3", "size": "7B"},
        ],
        "slm_models": [
            {"name": "meta-llama/Llama-3.2-3B-Instruct", "size": "3B"},
            {"name": "Qwen/Qwen2.5-3B-Instruct", "size": "3B"},
        ],
    }
}


def test_a_mixed_config_is_sorted_by_size() -> None:
    study = parse_study(migrate_config(MIXED).config)
    assert {key: model.source.hub for key, model in study.llm.items()} == {
        "mistral7b": "mistralai/Mistral-7B-Instruct-v0.3",
        "llama8b": "meta-llama/Meta-Llama-3.1-8B-Instruct",
    }
    assert {key: model.size for key, model in study.slm.items()} == {"qwen3b": "3B", "llama3b": "3B"}
    assert [model.quantization for model in study.llm.values()] == ["nf4", "nf4"]
    assert [model.quantization for model in study.slm.values()] == ["none", "none"]


def test_settings_are_carried_over_where_they_have_a_counterpart() -> None:
    study = parse_study(migrate_config(MIXED).config)
    finetune = study.slm["qwen3b"].finetune
    assert (finetune.learning_rate, finetune.epochs, finetune.batch_size) == (1e-4, 2, 32)
    assert (finetune.lora.r, finetune.lora.alpha, finetune.lora.dropout) == (64, 128, 0.1)
    assert (finetune.evaluate_every, finetune.patience, finetune.max_tokens) == (50, 3, 2048)
    assert (study.data.split.train, study.data.split.validation, study.data.split.seed) == (0.8, 0.1, 7)
    assert study.generation.max_new_tokens == 256
    assert study.data.columns.text == "Dialogue"


def test_nothing_is_dropped_in_silence() -> None:
    notes = "\n".join(migrate_config(MIXED).notes)
    for left_out in ("temperature", "warmup_steps", "device_map", "experiment.name", "run_baseline_slm", "batch_size"):
        assert left_out in notes
    assert "Meta-Llama-3.1-8B-Instruct (8B) was finetuned" in notes
    assert "Qwen2.5-3B-Instruct (3B) was evaluated untrained" in notes


def test_a_split_config_gives_the_originals_result_keys() -> None:
    migrated = migrate_config(SPLIT)
    study = parse_study(migrated.config)
    assert [result_key(study, arm) for arm in arms_of(study) if arm.kind != "baseline"] == [
        "LLM_Meta-Llama-3_1-8B-Instruct_untrained",
        "LLM_Mistral-7B-Instruct-v0_3_untrained",
        "SLM_Llama-3_2-3B-Instruct_finetuned",
        "SLM_Qwen2_5-3B-Instruct_finetuned",
    ]
    assert migrated.notes == []


@pytest.mark.parametrize(
    ("name", "stated", "size"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.3", None, "7B"),
        ("Qwen/Qwen2.5-3B-Instruct", None, "3B"),
        ("Qwen/Qwen2.5-0.5B", None, "0.5B"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None, "135M"),
        ("acme/llama-8b-chat", None, "8B"),
        ("microsoft/Phi-3-mini", "3.8B", "3.8B"),
    ],
)
def test_size_is_read_from_the_name(name: str, stated: str | None, size: str) -> None:
    assert size_of(name, stated) == size


def test_two_models_of_one_family_and_size_get_keys_of_their_own() -> None:
    old = {"model": {"baseline_llms": ["Qwen/Qwen2.5-7B", "Qwen/Qwen2.5-7B-Instruct"]}}
    assert list(migrate_config(old).config["llm"]) == ["qwen7b", "qwen7b-2"]


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ({"model": {}}, "names no model"),
        ([], "keys and values"),
        ({"model": {"baseline_llms": ["acme/giant"]}}, "give it a `size`"),
        ({"model": {"baseline_llms": [{"size": "8B"}]}}, "record with a `name`"),
        ({"model": {"slm_name": "a/b-3B"}, "training": {"learning_rate": -1}}, "learning_rate must be more than 0"),
    ],
)
def test_what_cannot_be_migrated_is_said(old: object, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        migrate_config(old)


OLD_RESULTS = {
    "Baseline_LLM_Qwen2.5-3B-Instruct": {"n_samples": 1537, "exact_match_accuracy": 0.123, "f1": 0.234},
    "Baseline_LLM_Mistral-7B-Instruct-v0.3": {"n_samples": 1537, "exact_match_accuracy": 0.2},
    "Baseline_SLM": {"n_samples": 1537, "exact_match_accuracy": 0.1},
    "Finetuned_SLM": {"n_samples": 1537, "exact_match_accuracy": 0.456, "training_metrics": {"loss": 0.5}},
}


def test_old_results_get_the_keys_of_results_json() -> None:
    new = migrate_results(OLD_RESULTS, "meta-llama/Meta-Llama-3.1-8B-Instruct")
    assert list(new) == [
        "SLM_Qwen2_5-3B-Instruct_untrained",
        "LLM_Mistral-7B-Instruct-v0_3_untrained",
        "LLM_Meta-Llama-3_1-8B-Instruct_untrained",
        "LLM_Meta-Llama-3_1-8B-Instruct_finetuned",
    ]
    assert new["LLM_Meta-Llama-3_1-8B-Instruct_finetuned"] == {
        "model_type": "LLM",
        "model_size": "8B",
        "training_status": "finetuned",
        "n_samples": 1537,
        "exact_match_accuracy": 0.456,
        "training_metrics": {"loss": 0.5},
    }
    assert new["SLM_Qwen2_5-3B-Instruct_untrained"]["f1"] == 0.234


def test_new_results_stay_as_they_are() -> None:
    new = migrate_results(OLD_RESULTS, "meta-llama/Llama-3.2-3B-Instruct")
    assert migrate_results(new) == new


def test_results_that_would_collide_or_lack_a_name_are_refused() -> None:
    with pytest.raises(StudyError, match="does not say which model"):
        migrate_results({"Finetuned_SLM": {}})
    with pytest.raises(StudyError, match="would stand under"):
        migrate_results({"Baseline_SLM": {}, "Baseline_LLM_Qwen2.5-3B": {}}, "Qwen/Qwen2.5-3B")
    with pytest.raises(StudyError, match="no key of old results"):
        migrate_results({"Other": {}})


def test_the_slm_is_read_from_the_old_config() -> None:
    assert old_slm_name(MIXED) == "meta-llama/Meta-Llama-3.1-8B-Instruct"
    assert old_slm_name(SPLIT) is None


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *map(str, arguments)], capture_output=True, text=True)


def test_the_program_writes_a_study_that_loads(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "config.yaml"
    old.write_text(yaml.safe_dump(MIXED))
    assert run("config", old, new).returncode == 0
    assert list(load_study(new).slm) == ["qwen3b", "llama3b"]
    assert "# generation.temperature: 0.7 was left out" in new.read_text()
    again = run("config", old, new)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_program_rewrites_results(tmp_path: Path) -> None:
    config, old, new = tmp_path / "old_config.json", tmp_path / "old.json", tmp_path / "results.json"
    config.write_text(json.dumps(MIXED))
    old.write_text(json.dumps(OLD_RESULTS))
    assert run("results", old, new, "--old-config", config).returncode == 0
    assert json.loads(new.read_text()) == migrate_results(OLD_RESULTS, "meta-llama/Meta-Llama-3.1-8B-Instruct")
