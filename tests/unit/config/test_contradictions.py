"""What a study asks for that cannot be is refused by name; nothing is accepted and then ignored."""

import copy

import pytest

from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError

HERE = {"source": {"folder": "x"}, "size": "1B"}

STUDY = {
    "data": {"source": {"path": "d.csv"}, "labels": "plain"},
    "llm": {"large": {**HERE}, "asked": {"source": {"api": "http://127.0.0.1:1/v1", "model": "x"}}},
    "slm": {"small": {**HERE}},
    "embedding": {"vectors": {"source": {"folder": "e"}}},
    "encoder": {"tuned": {"source": {"folder": "n"}}},
}


def with_keys(keys):
    raw = copy.deepcopy(STUDY)
    for path, value in keys.items():
        *parents, last = path.split(".")
        section = raw
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    return raw


def sweep(**grid):
    return {
        "designs.sweep": {"models": ["small"], "grid": {key.replace("__", "."): values for key, values in grid.items()}}
    }


UNUSED = [
    ("llm.large.finetune.epochs", 9, "large is not finetuned: name it in designs.crossed"),
    ("llm.large.hardware.tensorboard", True, "large is not finetuned"),
    ("llm.large.hardware.checkpoint_steps", 9, "large is not finetuned"),
    ("llm.large.asking.retries", 9, "is for a model behind an endpoint"),
    ("slm.small.asking.retries", 9, "is for a model behind an endpoint"),
    ("llm.asked.dtype", "float16", "is for weights that are loaded here"),
    ("llm.asked.unquantized_without_gpu", True, "is for weights that are loaded here"),
    ("llm.asked.prompt.max_tokens", 99, "is for weights that are loaded here"),
    ("llm.asked.hardware.gpus", 2, "is for weights that are loaded here"),
    ("embedding.vectors.hardware.gpus", 2, "no embedding uses it"),
    ("embedding.vectors.hardware.memory_gb", 9, "no embedding uses it"),
    ("encoder.tuned.hardware.token_budget", 512, "no encoder uses it"),
    ("encoder.tuned.hardware.tensorboard", True, "no encoder uses it"),
]


@pytest.mark.parametrize(("path", "value", "why"), UNUSED)
def test_a_key_that_nothing_would_read_is_refused(path, value, why):
    with pytest.raises(StudyError, match=rf"config\.yaml: {path} .*{why}"):
        parse_study(with_keys({path: value}))


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, value, _ in UNUSED if path.count(".") == 3])
def test_what_an_entry_would_inherit_may_be_said_of_it(path, value):
    _, _, section, key = path.split(".")
    parse_study(with_keys({path: value, f"{section}.{key}": value}))


def test_keys_of_a_finetune_are_read_once_the_model_is_finetuned():
    parse_study(with_keys({"llm.large.finetune.epochs": 9, "designs.crossed": ["large"]}))


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"slm.small.generation.thinking": True}, r"slm\.small has generation\.thinking"),
        (
            {"llm.large.finetune.select_by": "validation_micro_f1", "designs.crossed": ["large"]},
            r"llm\.large: finetune\.select_by: .* is for data\.several",
        ),
        (
            {"data.several": {}, "llm.large.finetune.head": "classify", "designs.crossed": ["large"]},
            r"llm\.large: finetune\.head: a head over labels chooses one",
        ),
        (sweep(head=["write", "classify"]) | {"data.several": {}}, r"designs\.sweep\.grid\.head: a head over labels"),
        (sweep(select_by=["validation_loss", "validation_exact_match"]), "take select_by out"),
        (sweep(head=["write", "classify"]), r"losses .* cannot be compared: .*validation_exact_match for small"),
        (sweep(lora=[{"r": 4}], lora__r=[8]), r"lora holds lora\.r, which it sets, too"),
        ({"hardware.device": "cpu", "hardware.gpus": 2}, r"hardware\.gpus is of GPUs, and hardware\.device is cpu"),
        (
            {"data.several": {}, "answering.answer_validation": True, "generation.candidates": 5},
            "answer_validation is for selective coding, which takes one label",
        ),
        (
            {"generation.vocabulary": "code_set"},
            r"llm\.large: generation\.vocabulary: code_set is for labels of a code",
        ),
        ({"slm.small.prompt.answer": "code description"}, r"slm\.small: prompt\.answer: .* needs descriptions"),
        ({"cost.kwh_price": 0.3}, r"set gpu_hour_price, too"),
        ({"answering.answer_validation": True}, r"answer_validation: .* no language model gives any: set generation"),
        (
            {"slm.small.hardware": {"device": "cpu", "memory_gb": 4}},
            r"slm\.small\.hardware\.memory_gb is of GPUs, and slm\.small\.hardware\.device is cpu",
        ),
        (
            {
                "data.split": {"method": "column", "train": 0.8, "validation": 0.1, "test": 0.1},
                "data.columns.split": "s",
            },
            "shares of samples that are dealt",
        ),
    ],
)
def test_what_cannot_be_together_is_refused(keys, complaint):
    with pytest.raises(StudyError, match=complaint):
        parse_study(with_keys(keys))


def test_what_can_be_together_is_not():
    parse_study(with_keys({"slm.small.generation.thinking": True, "designs.crossed": ["small"]}))
    parse_study(with_keys(sweep(head=["write", "classify"]) | {"finetune.select_by": "validation_exact_match"}))
    parse_study(with_keys({"answering.answer_validation": True, "llm.large.generation.candidates": 5}))
    parse_study(with_keys({"answering.answer_validation": True, "answering.ensemble_weights": "validation"}))
    parse_study(with_keys({"prompt.answer": "code description", "data.columns.description": "words"}))
    parse_study(with_keys({"hardware.gpus": 2, "embedding.vectors.hardware.device": "cpu"}))
