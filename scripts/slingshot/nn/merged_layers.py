"""Decoder layers of the Llama kind as they run while a model answers: half as many kernels, fewer trips to memory.

q, k and v are one matrix product, gate and up another; what a product adds to the hidden states is added in the
product, but for those in e4m3; the rotation, and on a GPU the pool's new keys and values, are one kernel, and so is
the activation. The modules of transformers keep working: their weights become rows of the merged ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slingshot.models.device_memory import free_bytes
from slingshot.nn import fp8_kernels, layer_kernels
from slingshot.nn.cached_attention import AttentionStep, attend
from slingshot.nn.fp8 import Fp8Linear
from slingshot.nn.rotary import rotate
from slingshot.nn.supported_layers import refuse_unknown_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Families whose layer is x += attention(norm(x)); x += mlp(norm(x)), and nothing else reads a norm's result.
_FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}


@dataclass
class MergedLayer:
    """What a decoder layer has instead of q, k, v, gate and up."""

    qkv: nn.Linear | Fp8Linear
    gate_up: nn.Linear | Fp8Linear
    window: int | None
    quantizes_between: bool = False  # norm and activation hand their results on in e4m3


def merge_layers(model: PreTrainedModel) -> list[str]:
    """Let the layers of a model run merged, but those of bitsandbytes and those with an adapter on top.

    Returns: a note where memory does not suffice; the layers then run as they are, on the weights that they have.
    """
    config = model.config.get_text_config()
    if config.model_type not in _FAMILIES or config.hidden_act != "silu":
        return []
    network: Any = model.base_model
    layers = [layer for layer in getattr(network, "layers", []) if _mergeable(layer)]
    if _scarce(layers, model.device):
        return ["layers not merged: too little memory to move their weights"]
    try:  # all of one size first: what one layer's matrices leave is the place of the next one's
        gate_up = [_merged(_linears(layer)[1]) for layer in layers]
        qkv = [_merged(_linears(layer)[0]) for layer in layers]
    except torch.OutOfMemoryError:  # those that were moved are rows of larger matrices, and nothing else
        return ["layers not merged: out of memory"]
    for layer, heads, both in zip(layers, qkv, gate_up, strict=True):
        merged = MergedLayer(heads, both, _window(layer.self_attn, config))
        layer.forward = partial(_layer_forward, layer, merged)
    return []


def _scarce(layers: Sequence[Any], device: torch.device) -> bool:
    """Whether a GPU could not hold the merged weights beside those that they replace, should its free memory be in
    pieces. Weights in e4m3 came one after the other, and leave whole pieces."""
    if device.type != "cuda" or not layers or isinstance(layers[0].mlp.gate_proj, Fp8Linear):
        return False
    linears = [linear for layer in layers for group in _linears(layer) for linear in group]
    return free_bytes(device) < sum(linear.weight.nbytes for linear in linears)


def _window(attention: Any, config: Any) -> int | None:
    """Mistral's attention reads the config, Qwen's has it layer by layer, and a Llama's has none whatever its config
    says."""
    window = config.sliding_window if config.model_type == "mistral" else getattr(attention, "sliding_window", None)
    return None if window is None else int(window)


def split_layers(model: PreTrainedModel) -> None:
    """Undo `merge_layers` and `quantize_between`."""
    for layer in _merged_layers(model):
        del layer.forward
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.__dict__.pop("forward", None)


def quantize_between(model: PreTrainedModel) -> None:
    """Let norms and activations of layers in e4m3 hand their results on in e4m3, on a GPU."""
    if fp8_kernels.triton is None or model.device.type != "cuda":
        return
    for layer in filter(_rows_fit_kernels, _merged_layers(model)):
        layer.forward.args[1].quantizes_between = True
        for norm in (layer.input_layernorm, layer.post_attention_layernorm):
            norm.forward = partial(_norm_in_e4m3, norm)


def _rows_fit_kernels(layer: Any) -> bool:
    """Whether a merged layer multiplies in e4m3 rows that one program holds; wider ones are quantized apart."""
    qkv, width = layer.forward.args[1].qkv, layer.mlp.down_proj.in_features
    return isinstance(qkv, Fp8Linear) and max(qkv.in_features, width) <= fp8_kernels.WIDEST


def _merged_layers(model: PreTrainedModel) -> list[Any]:
    return [
        layer for layer in getattr(model.base_model, "layers", []) if isinstance(vars(layer).get("forward"), partial)
    ]


def _mergeable(layer: Any) -> bool:
    heads, gate_up = _linears(layer)
    kinds = set(map(type, [*heads, *gate_up, layer.self_attn.o_proj, layer.mlp.down_proj]))
    alike = all(len({linear.bias is None for linear in group}) == 1 for group in (heads, gate_up))
    return len(kinds) == 1 and kinds <= {nn.Linear, Fp8Linear} and alike


def _linears(layer: Any) -> tuple[list[Any], list[Any]]:
    """A layer's linear layers that have one input: q, k and v; gate and up."""
    attention, mlp = layer.self_attn, layer.mlp
    return [attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]


@torch.no_grad()
def _merged(linears: Sequence[Any]) -> Any:
    """Linear layers of one input as one, whose rows their weights become."""
    rows = [linear.weight.shape[0] for linear in linears]
    weight = torch.cat([linear.weight.data for linear in linears])
    bias = None
    if linears[0].bias is not None:
        bias = torch.cat([linear.bias.data for linear in linears])
    for linear, part in zip(linears, weight.split(rows), strict=True):
        linear.weight.data = part
    if isinstance(linears[0], Fp8Linear):
        scale = torch.cat([linear.scale for linear in linears])
        return Fp8Linear(weight, scale, bias, linears[0].dtype)
    merged = nn.Linear(weight.shape[1], sum(rows), bias=False, device="meta")
    merged.weight = nn.Parameter(weight, requires_grad=False)
    merged.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))
    return merged


def _layer_forward(
    layer: Any,
    merged: MergedLayer,
    hidden: Tensor,
    attention_mask: Tensor | None = None,
    position_embeddings: tuple[Tensor, Tensor] | None = None,
    step: AttentionStep | None = None,
    **more: Any,
) -> Tensor:
    """transformers' call of a decoder layer: hidden states (1, tokens, width) in and out, changed in place."""
    assert position_embeddings is not None and step is not None
    refuse_unknown_arguments(attention_mask, more)
    attended = _attended(layer.self_attn, merged, layer.input_layernorm(hidden), position_embeddings, step)
    _add_product(hidden, layer.self_attn.o_proj, attended)
    gate_up = merged.gate_up(layer.post_attention_layernorm(hidden))
    _add_product(hidden, layer.mlp.down_proj, _activated(gate_up, merged.quantizes_between))
    return hidden


def _attended(
    attention: Any, merged: MergedLayer, normed: Tensor, angles: tuple[Tensor, Tensor], step: AttentionStep
) -> Tensor:
    """Hidden states (1, tokens, width) to attended heads, (1, tokens, heads * head size)."""
    size, layer = attention.head_dim, attention.layer_idx
    states = merged.qkv(normed)[0].unflatten(-1, (-1, size))
    key_heads = attention.k_proj.weight.shape[0] // size
    heads = states.shape[1] - 2 * key_heads
    query, key, value = states.split([heads, key_heads, key_heads], dim=1)
    if hasattr(attention, "q_norm"):
        query.copy_(attention.q_norm(query))
        key.copy_(attention.k_norm(key))
    cos, sin = (part[0] for part in angles)
    pool, rows = step.new_rows()
    if _has_kernel(states, cos):
        kept = pool.of_layer(layer, key, value)
        layer_kernels.rotate_and_store(states, cos.contiguous(), sin.contiguous(), rows, *kept, heads)
    else:
        query = rotate(query, cos, sin)
        pool.write(layer, rows, rotate(key, cos, sin), value)
    return attend(step, layer, query, attention.scaling, merged.window).flatten(1)[None]


def _has_kernel(states: Tensor, cos: Tensor) -> bool:
    """Whether the kernel turns heads of this size: a power of two, all of it turned."""
    size = states.shape[-1]
    return layer_kernels.run_on(states.device) and cos.shape[-1] == size and size & (size - 1) == 0


def _activated(gate_up: Tensor, in_e4m3: bool) -> Tensor:
    """silu(gate) * up of (1, tokens, gate and up side by side)."""
    if in_e4m3:
        return _with_scale(*fp8_kernels.activate_and_quantize(gate_up[0]))
    if layer_kernels.run_on(gate_up.device):
        return layer_kernels.silu_mul(gate_up[0])[None]
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)


def _add_product(hidden: Tensor, linear: nn.Linear | Fp8Linear, inputs: Tensor) -> None:
    """Add a linear layer's output to the hidden states, in place."""
    if isinstance(linear, Fp8Linear):
        hidden.add_(linear(inputs))
        return
    hidden[0].addmm_(inputs[0], linear.weight.t())
    if linear.bias is not None:
        hidden.add_(linear.bias)


def _norm_in_e4m3(norm: Any, hidden: Tensor) -> Tensor:
    """RMS norm of (1, tokens, width) in e4m3."""
    return _with_scale(*fp8_kernels.norm_and_quantize(hidden[0], norm.weight, norm.variance_epsilon))


def _with_scale(quantized: Tensor, scale: Tensor) -> Tensor:
    """Rows in e4m3 as (1, tokens, width), with their scales as the attribute `row_scale`, which Fp8Linear reads."""
    shaped = quantized[None]
    shaped.row_scale = scale  # type: ignore[attr-defined]
    return shaped
