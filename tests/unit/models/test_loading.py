"""What a model's folder says of it."""

import json

import pytest
import torch

from slingshot.artifacts.model_card import ModelCard
from slingshot.core.environment import processor_flags
from slingshot.core.errors import StudyError
from slingshot.core.gpus import FAKE_VARIABLE, Device
from slingshot.models import number_types
from slingshot.models.loading import check_whole, context_length, load_model
from slingshot.models.number_types import number_type
from tests.unit.tiny_models import tiny_model


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"text_config": None, "max_position_embeddings": 512}, 512),
        ({"n_positions": 7}, None),
        # Llama 3.1: stated after stretching; Qwen2.5 as its YaRN instructions say, and older linear scaling: before it
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"factor": 8.0, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 32768,
                "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"max_position_embeddings": 2048, "rope_scaling": {"type": "linear", "factor": 2.0}}, 4096),
        # Gemma 3 states the length after stretching, in transformers 5 by type of layer
        (
            {
                "model_type": "gemma3_text",
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_type": "default"},
                },
            },
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}, 4096),
    ],
)
def test_the_context_is_what_the_config_says(tmp_path, config, tokens):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert context_length(card_of(tmp_path)) == tokens


def card_of(folder):
    return ModelCard(
        name="m",
        source={"folder": "m"},
        revision="r",
        folder=str(folder),
        files={},
        parameters=1,
        layers=1,
        architecture="A",
    )


def test_a_type_that_the_processor_only_emulates_is_warned_of(tmp_path, monkeypatch, caplog):
    tiny_model("llama").save_pretrained(tmp_path)
    monkeypatch.setattr(number_types, "processor_flags", lambda: frozenset({"avx2", "avx512f"}))
    load_model(card_of(tmp_path), "none", "float32", "cpu")
    assert load_model(card_of(tmp_path), "none", "auto", "cpu").dtype == torch.float32
    assert "emulates" not in caplog.text
    load_model(card_of(tmp_path), "none", "bfloat16", "cpu")
    assert "no instructions for bfloat16" in caplog.text and "dtype: auto" in caplog.text


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2"}, "float32"),
        ({"avx2", "avx512f"}, "float32"),
        ({"avx512_bf16"}, "bfloat16"),
        ({"amx_bf16"}, "bfloat16"),
        ({"asimd", "bf16"}, "bfloat16"),  # Arm
        (set(), "float32"),
    ],
)
def test_auto_is_what_the_processor_multiplies(monkeypatch, flags, expected):
    monkeypatch.setattr(number_types, "processor_flags", lambda: frozenset(flags))
    assert number_type("auto", "cpu") == expected
    assert number_type("float16", "cpu") == "float16"


@pytest.mark.parametrize(
    ("capabilities", "answering", "training"),
    [
        ([(9, 0)], "bfloat16", "bfloat16"),
        ([(8, 0)], "bfloat16", "bfloat16"),
        ([(7, 5)], "float16", "float32"),  # Turing: T4, RTX 2080
        ([(9, 0), (7, 5)], "float16", "float32"),
        ([], "bfloat16", "bfloat16"),  # what needs a GPU says that there is none
    ],
)
def test_auto_is_what_every_gpu_of_the_process_multiplies(monkeypatch, capabilities, answering, training):
    cards = [
        Device(f"GPU-{index}", f"GPU-{index}", index, "a GPU", capability, 1, lambda: 0, lambda: None)
        for index, capability in enumerate(capabilities)
    ]
    monkeypatch.setattr(number_types, "devices_allowed", lambda visible: cards)
    assert number_type("auto", "cuda") == answering
    assert number_type("auto", "cuda", trained=True) == training
    assert number_type("bfloat16", "cuda") == "bfloat16"


def test_without_a_driver_auto_is_bfloat16(monkeypatch):
    monkeypatch.delenv(FAKE_VARIABLE, raising=False)

    def find_no_driver(visible):
        raise StudyError("no GPU found")

    monkeypatch.setattr(number_types, "devices_allowed", find_no_driver)
    assert number_type("auto", "cuda") == "bfloat16"


def test_the_flags_are_those_that_torch_finds():
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    known = {"avx2", "avx512_bf16", "amx_bf16", "avx512_fp16"} & set(capabilities)
    if not known or not processor_flags():
        pytest.skip("torch or the system names no instruction sets here")
    assert {name for name in known if capabilities[name]} == known & processor_flags()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_weight_that_is_no_finite_number_is_refused_by_name(tmp_path, value, dtype):
    model = tiny_model("llama").to(dtype)
    check_whole(card_of(tmp_path), model, {})
    model.model.layers[1].mlp.up_proj.weight.data[3, 5] = value
    with pytest.raises(StudyError, match=r"m: the weight model\.layers\.1\.mlp\.up_proj\.weight holds values that"):
        check_whole(card_of(tmp_path), model, {})
