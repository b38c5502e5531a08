"""A merged model is a folder that transformers loads alone, and it answers as the adapter on its base does."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from slingshot.artifacts.model_card import Base
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.deployment.merge import write_merged_model
from slingshot.nn import lora
from slingshot.nn.adapter_files import save_adapter
from tests.unit.tiny_models import write_tiny_model


@pytest.fixture
def base(tmp_path):
    return write_tiny_model(tmp_path)


def test_the_merged_folder_has_the_adapters_logits(base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    recipe = Lora(r=4, alpha=8)
    lora.add_adapters(model, recipe, 4, 8, seed=0)
    ids = torch.arange(3, 30)[None]
    untrained = model(ids).logits
    for _, layer in lora.adapters(model):
        torch.nn.init.normal_(layer.lora_B, std=0.1)
    save_adapter(tmp_path / "adapter", lora.adapter_state(model), recipe, 4, 8, Base("tiny", None))
    expected = model(ids).logits
    assert (expected - untrained).abs().max() > 0.01
    write_merged_model(base, tmp_path / "adapter", tmp_path / "merged", "float32")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    torch.testing.assert_close(merged(ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert (tmp_path / "merged/tokenizer.json").exists()
    assert not (tmp_path / ".merged.part").exists()
    with pytest.raises(StudyError, match="merged exists already: name a new folder"):
        write_merged_model(base, tmp_path / "adapter", tmp_path / "merged", "float32")


def test_an_adapter_of_other_weights_is_merged_with_a_warning(base, tmp_path, caplog):
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    recipe = Lora(r=4, alpha=8)
    lora.add_adapters(model, recipe, 4, 8, seed=0)
    save_adapter(tmp_path / "adapter", lora.adapter_state(model), recipe, 4, 8, Base("tiny", None), "nf4")
    write_merged_model(base, tmp_path / "adapter", tmp_path / "merged", "float32")
    assert "trained on weights in nf4 and answers on weights in none" in caplog.text


def test_what_is_no_plain_lora_adapter_is_refused(base, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(StudyError, match="is no plain LoRA adapter: merge it with peft"):
        write_merged_model(base, tmp_path / "adapter", tmp_path / "merged", "float32")
    assert not (tmp_path / "merged").exists()
