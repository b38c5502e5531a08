"""A layer's two sums onto its input, made by the matrix products themselves: x += a W in one pass over memory.

The library adds what is there to what it computes (beta = 1 of GEMM) before it rounds: one rounding instead of two,
and neither the product alone nor a second copy of the sum is ever written. For layers of the Llama kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Families whose layer is x += attention(norm(x)); x += mlp(norm(x)), and nothing else.
_PLAIN_LAYERS = {"llama", "mistral", "qwen2", "qwen3"}


@dataclass
class _Sum:
    """What a layer's next product is to be added to."""

    so_far: Tensor | None = None


def fuse(model: PreTrainedModel) -> None:
    """Let the layers of a model that is only asked for answers add in place. Its hidden states are overwritten."""
    for layer in _layers(model):
        last = (layer.self_attn.o_proj, layer.mlp.down_proj)
        if all(_takes_sums(linear) for linear in last):
            held = _Sum()
            layer.forward = partial(_layer_forward, layer, held)
            for linear in last:
                linear.forward = partial(_add_product, linear, held)


def unfuse(model: PreTrainedModel) -> None:
    """Undo `fuse`."""
    for layer in _layers(model):
        for module in (layer, layer.self_attn.o_proj, layer.mlp.down_proj):
            module.__dict__.pop("forward", None)


def _layers(model: PreTrainedModel) -> list[Any]:
    if model.config.get_text_config().model_type not in _PLAIN_LAYERS:
        return []
    return list(getattr(model.base_model, "layers", []))


def _takes_sums(linear: nn.Module) -> bool:
    return (type(linear) is nn.Linear or _in_four_bits(linear)) and linear.bias is None


def _in_four_bits(linear: nn.Module) -> bool:
    """bitsandbytes' own layer; peft has one of the same name."""
    return type(linear).__name__ == "Linear4bit" and type(linear).__module__.startswith("bitsandbytes")


def _layer_forward(layer: Any, held: _Sum, hidden: Tensor, **more: Any) -> Tensor:
    held.so_far = hidden
    try:
        held.so_far, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden), **more)
        out: Tensor = layer.mlp(layer.post_attention_layernorm(held.so_far))
    finally:
        held.so_far = None
    return out


def _add_product(linear: Any, held: _Sum, inputs: Tensor) -> Tensor:
    assert held.so_far is not None
    rows = held.so_far.view(-1, held.so_far.shape[-1])
    rows.addmm_(inputs.reshape(-1, inputs.shape[-1]), _weight(linear).t())
    return held.so_far


def _weight(linear: Any) -> Any:
    weight = linear.weight
    if _in_four_bits(linear):
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, weight.quant_state).to(linear.compute_dtype)
    return weight
