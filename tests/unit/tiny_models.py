"""A tiny random model of each family that studies run on; float32, the same weights each time."""

from __future__ import annotations

from pathlib import Path

import torch
from benchmarks import families
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from slingshot.artifacts.model_card import ModelCard
from slingshot.config.recipe import Lora
from slingshot.nn import lora
from tests.tiny import byte_tokenizer

# TinyLlama and SmolLM are Llamas, Phi-4 is a Phi-3. A Gemma's heads are 256 wide unless its settings say otherwise.
FAMILIES: dict[str, dict[str, object]] = {
    **{
        family: families.CHANGED.get(family, {})
        for family in ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text")
    },
    "gemma": {"head_dim": 16},
}


def tiny_model(family: str, **changed: object) -> PreTrainedModel:
    torch.manual_seed(5)
    config = AutoConfig.for_model(
        family, **{**families.SHAPE, **FAMILIES.get(family, families.CHANGED.get(family, {})), **changed}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # larger weights than a fresh model's, so that attention and answers differ by prompt
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.2 if "embed" not in name else 1.0)
    return model.eval()


def adapted_model(family: str, wanted: Lora) -> PreTrainedModel:
    """A tiny model with adapters of rank 4 and alpha 8 that hold random numbers."""
    model = tiny_model(family)
    lora.add_adapters(model, wanted, 4, 8, seed=3)
    torch.manual_seed(1)
    for _, adapter in lora.all_adapters(model):
        adapter.lora_B.data.normal_(0, 0.1)
    return model


def write_tiny_model(folder: Path, **changed: object) -> Path:
    """Write a tiny Llama with a tokenizer of bytes to folder/model; returns its card, folder/card.json."""
    tokenizer = byte_tokenizer()
    model = tiny_model("llama", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **changed)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    card = ModelCard(
        name="tiny",
        source={"folder": "model"},
        revision="r1",
        folder="model",
        files={"model.safetensors": "d1"},
        parameters=1,
        layers=3,
        architecture="LlamaForCausalLM",
    )
    card.write(folder / "card.json")
    return folder / "card.json"
