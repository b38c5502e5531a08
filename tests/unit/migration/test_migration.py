"""Configs and results of the earlier pipeline become ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slingshot.config.arms import arms_of, result_key
from slingshot.config.study import load_study, parse_study
from slingshot.core.errors import StudyError
from slingshot.migration.config import migrate_config, old_slm_name
from slingshot.migration.results import migrate_results
from slingshot.migration.sizes import size_of

PROGRAM = Path(__file__).parents[3] / "scripts/migrate.py"

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


# As the earlier pipeline's own Config.save wrote it after its redesign, every section in it.
SAVED = {
    "paths": {"project_root": "/home/me/finetuning", "outputs_dir": "/home/me/finetuning/outputs"},
    "data": {
        "dataset_name": "Ahmad0067/MedSynth",
        "dataset_split_seed": 41,
        "train_ratio": 0.7,
        "val_ratio": 0.15,
        "test_ratio": 0.15,
        "max_sequence_length": 1024,
        "padding": "max_length",
        "batch_size": 128,
        "num_workers": 12,
        "use_cache": True,
    },
    "model": {
        "llm_models": [
            {
                "name": "meta-llama/Meta-Llama-3.1-8B-Instruct",
                "size": "8B",
                "description": "8B - Large reference model",
                "load_in_4bit": True,
                "load_in_8bit": False,
                "dtype": "float16",
            }
        ],
        "slm_models": [
            {
                "name": "Qwen/Qwen2.5-3B-Instruct",
                "size": "3B",
                "description": "3B - Compact Qwen for finetuning",
                "load_in_4bit": False,
                "load_in_8bit": False,
                "dtype": "bfloat16",
            }
        ],
        "slm_device": "cuda",
        "slm_dtype": "bfloat16",
        "attn_implementation": "sdpa",
        "tokenizer_padding_side": "left",
        "max_new_tokens": 256,
        "temperature": 0.7,
        "repetition_penalty": 1.1,
    },
    "training": {
        "num_epochs": 3,
        "learning_rate": 0.0003,
        "warmup_steps": 100,
        "weight_decay": 0.02,
        "optimizer": "adamw_torch_fused",
        "adam_beta1": 0.9,
        "lr_scheduler_type": "linear",
        "num_warmup_steps": 500,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 64,
        "gradient_accumulation_steps": 2,
        "bf16": True,
        "max_grad_norm": 0.5,
        "logging_steps": 5,
        "eval_steps": 25,
        "save_total_limit": 3,
        "metric_for_best_model": "eval_loss",
        "early_stopping_patience": 4,
        "early_stopping_threshold": 0.001,
        "use_lora": True,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.05,
        "lora_target_modules": ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        "seed": 43,
    },
    "evaluation": {
        "metrics": ["accuracy", "f1"],
        "evaluate_top_k": [1, 3, 5],
        "eval_batch_size": 48,
        "max_eval_samples": None,
        "force_recompute": False,
        "cache_max_age_days": 30,
    },
    "logging": {"log_level": "INFO", "use_mlflow": True, "mlflow_tracking_uri": None},
    "experiment": {"experiment_name": "size_vs_specialization", "run_llm_evaluation": True, "seed": 42}
    | {"deterministic": True},
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


def test_a_saved_config_is_carried_over_key_by_key() -> None:
    study = parse_study(migrate_config(SAVED).config)
    small, large = study.slm["qwen3b"], study.llm["llama8b"]
    recipe = small.finetune
    assert (study.data.split.seed, study.seed) == (41, 43)
    assert (small.prompt.max_tokens, recipe.max_tokens) == (1024, 1024)
    assert (large.quantization, large.dtype, small.quantization, small.dtype) == ("nf4", "float16", "none", "bfloat16")
    assert (recipe.epochs, recipe.learning_rate, recipe.weight_decay, recipe.schedule) == (3, 0.0003, 0.02, "linear")
    assert (recipe.batch_size, recipe.max_gradient_norm, recipe.evaluate_every) == (32, 0.5, 25)
    assert (recipe.patience, recipe.select_by, recipe.deterministic) == (4, "validation_loss", True)
    assert (recipe.lora.r, recipe.lora.alpha, recipe.lora.dropout, recipe.lora.targets) == (32, 64, 0.05, "all-linear")
    assert (study.generation.max_new_tokens, study.generation.candidates) == (256, 5)


def leaves_of(section: dict[str, object], path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in section.items():
        found |= leaves_of(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


def test_each_key_of_a_saved_config_is_carried_over_or_named_in_a_note() -> None:
    migrated = migrate_config(SAVED)
    notes = "\n".join(migrated.notes)
    carried = {old for old, _ in migrated.carried.values()}
    part_of_batch = {"training.gradient_accumulation_steps"}
    for path, value in leaves_of(SAVED).items():
        if value is not None and "_models" not in path:
            assert path in carried | part_of_batch or f"{path} (" in notes, path
    assert "llm_models: meta-llama/Meta-Llama-3.1-8B-Instruct's description ('8B - Large" in notes
    assert "experiment.seed (42)" in notes  # training.seed came first and says 43
    assert notes.count("it has no counterpart") == 1  # the models' descriptions; all else has a reason of its own


def test_a_loaders_batch_size_is_not_the_trainings() -> None:
    old = {"model": {"slm_name": "a/b-3B"}, "data": {"batch_size": 128}, "training": {"gradient_accumulation_steps": 4}}
    migrated = migrate_config(old)
    assert "finetune" not in migrated.config
    assert "data.batch_size (128)" in "\n".join(migrated.notes)
    assert "gradient_accumulation_steps (4)" in "\n".join(migrated.notes)


def test_warm_up_steps_become_a_share_where_the_steps_are_known() -> None:
    """7172 samples in batches of 32 are 225 steps per epoch, 675 in three."""
    assert migrate_config(SAVED, 7172).config["finetune"]["warmup_share"] == pytest.approx(100 / 675, abs=1e-4)
    assert "training.warmup_steps (100)" in "\n".join(migrate_config(SAVED).notes)


def test_settings_of_the_one_slm_are_its_models() -> None:
    old = {"model": {"slm_name": "a/b-3B", "slm_dtype": "float16", "slm_load_in_4bit": True, "slm_load_in_8bit": False}}
    migrated = migrate_config(old)
    assert migrated.config["slm"]["b3b"] == {"source": {"hub": "a/b-3B"}, "size": "3B", "quantization": "nf4"}
    assert ["dtype float16 is left out" in note for note in migrated.notes] == [True]


def test_another_data_sets_columns_are_asked_for() -> None:
    migrated = migrate_config({"model": {"slm_name": "a/b-3B"}, "data": {"dataset_name": "acme/notes"}})
    assert migrated.config["data"] == {"source": {"hub": "acme/notes"}, "columns": {}}
    assert "name the columns of acme/notes" in "\n".join(migrated.notes)


@pytest.mark.parametrize(
    ("name", "stated", "size"),
    [
        ("mistralai/Mistral-7B-Instruct-v0.3", None, "7B"),
        ("Qwen/Qwen2.5-3B-Instruct", None, "3B"),
        ("Qwen/Qwen2.5-0.5B", None, "0.5B"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None, "135M"),
        ("acme/llama-8b-chat", None, "8B"),
        ("microsoft/Phi-3-mini", "3.8B", "3.8B"),
        ("acme/llama-8b-chat", "unknown", "8B"),  # as --model-llm left it
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
        ({"model": {"baseline_llms": ["acme/giant"]}}, "record with a `size`"),
        ({"model": {"slm_name": "microsoft/Phi-3-mini-4k-instruct"}}, "holds no size"),  # 4k is its context
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


def test_dots_of_a_name_become_underscores() -> None:
    """The earlier pipeline's description writes underscores, its program wrote dots."""
    scores = {"model_type": "SLM", "model_size": "3B", "exact_match_accuracy": 0.4}
    assert migrate_results({"SLM_Qwen2.5-3B-Instruct_finetuned": scores}) == {
        "SLM_Qwen2_5-3B-Instruct_finetuned": scores
    }


def test_a_result_of_unknown_size_asks_for_it() -> None:
    key = "Baseline_LLM_Phi-3-mini-4k-instruct"
    with pytest.raises(StudyError, match=f"add a `model_size` to {key}"):
        migrate_results({key: {"f1": 0.1}})
    sized = migrate_results({key: {"f1": 0.1, "model_size": "3.8B"}})
    assert sized["SLM_Phi-3-mini-4k-instruct_untrained"]["model_type"] == "SLM"


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
    study = load_study(new)
    assert list(study.slm) == ["qwen3b", "llama3b"]
    prompt = "prompts/icd10cm.yaml"
    assert study.prompt.file is None and (tmp_path / prompt).read_text() == (PROGRAM.parents[1] / prompt).read_text()
    assert "generation.temperature (0.7)" in new.read_text()
    again = run("config", old, new)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_the_program_rewrites_results(tmp_path: Path) -> None:
    config, old, new = tmp_path / "old_config.json", tmp_path / "old.json", tmp_path / "results.json"
    config.write_text(json.dumps(MIXED))
    old.write_text(json.dumps(OLD_RESULTS))
    assert run("results", old, new, "--old-config", config).returncode == 0
    assert json.loads(new.read_text()) == migrate_results(OLD_RESULTS, "meta-llama/Meta-Llama-3.1-8B-Instruct")
