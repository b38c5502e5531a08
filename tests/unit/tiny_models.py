"""A tiny random model of each family that studies run on; float32, the same weights each time."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_WINDOWED = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 9}

# TinyLlama and SmolLM are Llamas, Phi-4 is a Phi-3.
FAMILIES = {
    "llama": {},
    "mistral": {"sliding_window": 11},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "phi3": {"sliding_window": 13},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 8, **_WINDOWED, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0},
    "gemma3_text": {"head_dim": 8, **_WINDOWED},
}


def tiny_model(family: str, **changed: object) -> PreTrainedModel:
    torch.manual_seed(5)
    config = AutoConfig.for_model(family, **{**_SHAPE, **FAMILIES.get(family, {}), **changed})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():  # larger weights than a fresh model's, so that attention and answers differ by prompt
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.2 if "embed" not in name else 1.0)
    return model.eval()
