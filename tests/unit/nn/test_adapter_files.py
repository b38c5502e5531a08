"""A merged adapter answers like the same adapter applied by peft."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from slingshot.artifacts.model_card import Base
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.nn.adapter_files import is_plain_lora, merge_adapter, note_of_other_weights, save_adapter
from tests.unit.tiny_models import tiny_model


@pytest.fixture
def adapter(tmp_path):
    def make(**changed):
        model = tiny_model("qwen2")
        config = LoraConfig(**{"r": 4, "lora_alpha": 12, "target_modules": ["q_proj", "down_proj"], **changed})
        adapted = get_peft_model(model, config).eval()
        torch.manual_seed(1)
        for name, weight in adapted.named_parameters():
            if "lora" in name:
                torch.nn.init.normal_(weight, std=0.3)
        adapted.save_pretrained(tmp_path / "adapter")
        return adapted, tmp_path / "adapter"

    return make


@torch.inference_mode()
def test_merged_equals_applied(adapter):
    adapted, folder = adapter()
    ids = torch.arange(3, 40)[None]
    expected = adapted(ids).logits
    model = tiny_model("qwen2")
    assert (model(ids).logits - expected).abs().max() > 0.1
    assert is_plain_lora(folder)
    merge_adapter(model, folder)
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_an_adapter_of_a_tied_head_leaves_the_embedding_alone(adapter):
    """As peft applies it; a merge into the shared weight would change what every token means."""
    base = tiny_model("qwen2", tie_word_embeddings=True)
    adapted = get_peft_model(base, LoraConfig(r=4, lora_alpha=12, target_modules=["lm_head"])).eval()
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(weight, std=0.3)
    _, folder = adapter()
    adapted.save_pretrained(folder)
    ids = torch.arange(3, 40)[None]
    expected = adapted(ids).logits
    model = tiny_model("qwen2", tie_word_embeddings=True)
    embedding = model.get_input_embeddings().weight.clone()
    merge_adapter(model, folder)
    torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert model.get_input_embeddings().weight.equal(embedding)


def test_an_adapter_says_what_weights_it_was_trained_on(tmp_path):
    state = {"base_model.model.layer.lora_A.weight": torch.ones(1, 2)}
    save_adapter(tmp_path, state, Lora(), 1, 2, Base("hub/base", "1" * 40), "nf4")
    settings = read_json(tmp_path / "adapter_config.json")
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("hub/base", "1" * 40)
    assert note_of_other_weights(tmp_path, "nf4") is None
    assert "trained on weights in nf4 and answers on weights in none" in note_of_other_weights(tmp_path, "none")


@pytest.mark.parametrize("unusual", [{"use_dora": True}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 2}}])
def test_what_is_more_than_plain_lora_is_left_to_peft(adapter, unusual):
    _, folder = adapter(**unusual)
    assert not is_plain_lora(folder)


def test_an_adapter_of_another_model_is_refused(adapter):
    _, folder = adapter()
    with pytest.raises(StudyError, match="does not fit"):
        merge_adapter(tiny_model("qwen2", hidden_size=64), folder)
    with pytest.raises(StudyError, match="lacks"):
        merge_adapter(tiny_model("qwen2", num_hidden_layers=2), folder)


def test_an_adapter_that_is_not_finite_is_refused(adapter):
    _, folder = adapter()
    weights = load_file(folder / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(StudyError, match="not finite"):
        merge_adapter(tiny_model("qwen2"), folder)


def test_another_kind_of_adapter_is_not_taken_for_lora(adapter):
    _, folder = adapter()
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "IA3"}))
    assert not is_plain_lora(folder)
