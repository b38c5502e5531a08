"""The fast path: decoder layers of the Llama kind, written out so that they compile to few, large kernels.

Llama, Mistral, Qwen2, Qwen3, Phi-3 and Phi-4 (and SmolLM and TinyLlama, which are Llamas) share one layer: RMS norm,
rotary attention, SwiGLU. Here q, k and v are one matrix product, gate and up another, and an adapter costs no pass
over memory of its own:

    y = W x + s B h,  h = A dropout(x),  s = alpha / r      is      y = [W | s B] [x ; h],

one product with r more columns, whose backward product returns the gradients of x and of h together.
`torch.compile` compiles the layer once for all layers and all numbers of tokens.

The modules of transformers keep working: their weights become views of the merged ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from slingshot.nn import flash_kernels
from slingshot.nn.kernel_support import has_kernels
from slingshot.nn.lora import LoraLinear, dropped_out
from slingshot.nn.packed_attention import packed_attention
from slingshot.nn.rotary import rotate
from slingshot.nn.supported_layers import mixes_windows, window_of
from slingshot.training import fp8_product, projections
from slingshot.training.batches import ForwardPath, Packed
from slingshot.training.projections import Projection
from slingshot.training.widened_product import widened_product

FAMILIES = {
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "Phi3ForCausalLM",
}

MULTIPLE = 128  # tokens that a compiled micro-batch is filled up to


class Norms(NamedTuple):
    attention: Tensor
    mlp: Tensor
    query: Tensor | None  # Qwen3
    key: Tensor | None


class LayerWeights(NamedTuple):
    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection
    norms: Norms


@dataclass(frozen=True)
class LayerShape:
    """What is the same in all layers and known when compiling."""

    heads: int
    key_heads: int
    head_size: int
    epsilon: float
    window: int | None
    longest: int
    probability: float
    scale: float  # alpha / r
    first_rows: tuple[tuple[int, ...], ...]  # of each projection: where each adapter's rows begin
    features: tuple[tuple[int, int], ...]  # of each projection: out, in


def unsupported(model: PreTrainedModel) -> str | None:
    """Why a model (with its adapters) has no fast path; None where it has one."""
    name, config = type(model).__name__, model.config
    if name not in FAMILIES:
        return f"{name} is not of the families with merged layers"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if mixes_windows(config):
        return "some of its layers have a sliding window, and some have none"
    head = model.get_output_embeddings()  # is no part of a layer
    linears = [
        module for module in model.modules() if isinstance(module, LoraLinear | nn.Linear) and module is not head
    ]
    base: list[Any] = [projections.base_of(module) for module in linears]
    kinds = {type(module).__name__ for module in base}
    if kinds - {"Linear", "Linear4bit"}:
        return f"it has {', '.join(sorted(kinds - {'Linear', 'Linear4bit'}))} layers"
    if any(getattr(getattr(module.weight, "quant_state", None), "nested", False) for module in base):
        return "its 4-bit weights have quantized scales"
    if "Linear4bit" in kinds and model.dtype != torch.bfloat16:
        return "its 4-bit weights are not unpacked to bfloat16"
    return None


def uncompilable(model: PreTrainedModel) -> str | None:
    """Why the fast path of a model on a GPU cannot be compiled; None where it can."""
    if flash_kernels.varlen_attn is None:
        return "its attention needs torch 2.11 to compile"
    if not has_kernels(model.device):
        return "flash attention needs a GPU of compute capability 8.0 or higher (Ampere)"
    if model.dtype not in (torch.bfloat16, torch.float16):
        return f"its attention does not compile in {str(model.dtype).removeprefix('torch.')}"
    return None


def fuse(model: PreTrainedModel, longest: int, compiled: bool, own_attention: str = "eager") -> ForwardPath:
    """Merge the model's projections in place and return its fast path.

    Args:
        model: one for which `unsupported` is None, with adapters in place.
        longest: no sequence will be longer.
        compiled: compile the layer; else it runs as written (a CPU has no time for the compiler).
        own_attention: what `ForwardPath` says of it.
    """
    network: Any = model
    layers = [_merged_layer(layer) for layer in network.model.layers]
    shapes = [_shape(model, layer, longest) for layer in network.model.layers]
    first_adapted = next(index for index, weights in enumerate(layers) if any(part.down for part in weights[:4]))
    run = [torch.compile(decoder_layer, fullgraph=True) if compiled else decoder_layer]

    def recompute(share: float) -> None:
        let_compiler_recompute(share)
        run[0] = torch.compile(decoder_layer, fullgraph=True)

    def forward(packed: Packed) -> Tensor:
        hidden = network.get_input_embeddings()(packed.input_ids)[0]
        cos, sin = (part[0] for part in network.model.rotary_emb(hidden[None], packed.position_ids))
        ends, row_keys = packed.ends, dropout.row_keys
        if compiled:
            _any_number_of_tokens(hidden, cos, sin, ends, row_keys)
        for index, (weights, shape) in enumerate(zip(layers, shapes, strict=True)):
            if index == first_adapted and torch.is_grad_enabled():
                hidden.requires_grad_()  # the first layer that learns compiles like the others
            hidden = run[0](hidden, weights, cos, sin, ends, row_keys, shape)
        return network.get_output_embeddings()(network.model.norm(hidden[packed.scored]))

    dropout = next(module.dropout for module in model.modules() if isinstance(module, LoraLinear))
    copies = _all_copies(layers, shapes)

    @torch.no_grad()
    def refresh() -> None:
        for target, source in copies:
            torch.mul(source, shapes[0].scale, out=target)

    def multiply_in_fp8() -> str | None:
        reason = fp8_product.unsupported(shapes[0].features, model.device, model.dtype)
        if reason is not None:
            return reason
        quantized, distances = zip(*(_in_fp8(*pair) for pair in zip(layers, shapes, strict=True)), strict=True)
        apart = max(distances)
        if apart > fp8_product.MOST_APART:
            return f"its products in e4m3 differ by {apart:.1%} from those in {model.dtype}"
        layers[:], copies[:] = quantized, _all_copies(quantized, shapes)
        refresh()
        return None

    refresh()
    in_fp8 = multiply_in_fp8 if layers[0].qkv.block_scales is None else None
    if not compiled:
        return ForwardPath(forward, refresh, own_attention=own_attention, multiply_in_fp8=in_fp8)
    return ForwardPath(forward, refresh, recompute, MULTIPLE, own_attention, in_fp8)


def decoder_layer(
    hidden: Tensor,
    weights: LayerWeights,
    cos: Tensor,
    sin: Tensor,
    ends: Tensor,
    row_keys: Tensor | None,
    shape: LayerShape,
) -> Tensor:
    """One layer over packed sequences: hidden states (tokens, width) in and out; cos and sin are (tokens, rotated)."""
    normed = F.rms_norm(hidden, hidden.shape[-1:], weights.norms.attention, shape.epsilon)
    query, key, value = _heads(_project(normed, weights.qkv, row_keys, 0, shape), shape)
    if weights.norms.query is not None and weights.norms.key is not None:
        query = F.rms_norm(query, query.shape[-1:], weights.norms.query, shape.epsilon)
        key = F.rms_norm(key, key.shape[-1:], weights.norms.key, shape.epsilon)
    query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    attended = packed_attention(query, key, value, ends, shape.longest, shape.head_size**-0.5, shape.window)
    hidden = hidden + _project(attended.flatten(1), weights.out, row_keys, 1, shape)
    normed = F.rms_norm(hidden, hidden.shape[-1:], weights.norms.mlp, shape.epsilon)
    gate, up = _project(normed, weights.gate_up, row_keys, 2, shape).chunk(2, dim=-1)
    return hidden + _project(F.silu(gate) * up, weights.down, row_keys, 3, shape)


def _project(inputs: Tensor, projection: Projection, row_keys: Tensor | None, which: int, shape: LayerShape) -> Tensor:
    """(tokens, in) to (tokens, out), adapters included."""
    low = inputs[:, :0]
    if projection.down:
        dropped = inputs
        if row_keys is not None and projection.column_keys is not None:
            dropped = dropped_out(inputs, row_keys, projection.column_keys, shape.probability)
        low = dropped @ torch.cat(projection.down).to(inputs.dtype).T
    if projection.fp8 is not None:
        projected = fp8_product.fp8_product(
            inputs, low, projection.fp8, projection.weight, projection.up, shape.first_rows[which], shape.scale
        )
        return projected if projection.bias is None else projected + projection.bias
    projected = widened_product(
        torch.cat([inputs, low], 1),
        low * shape.scale,  # a copy, or the backward pass would keep all of the line above
        projection.weight,
        projection.block_scales,
        list(projection.up),
        list(shape.first_rows[which]),
        list(shape.features[which]),
        shape.scale,
    )
    return projected if projection.bias is None else projected + projection.bias


def _heads(qkv: Tensor, shape: LayerShape) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens, all) to query, key and value of (tokens, heads, head size)."""
    heads = qkv.unflatten(1, (-1, shape.head_size))
    query, key, value = heads.split([shape.heads, shape.key_heads, shape.key_heads], dim=1)
    return query, key, value


def let_compiler_recompute(share: float) -> None:
    """Let what torch.compile compiles from now on redo about this share of its activations in the backward pass.

    The compiler itself chooses which are cheapest to redo; 1: all but those of matrix products. What it compiled so
    far is forgotten. A release of torch in which these settings change nothing fails
    tests/unit/training/test_fused_layers.py.
    """
    from torch._functorch import config

    config.activation_memory_budget = 1.0 if share in (0, 1) else 1 - share
    config.aggressive_recomputation = share == 1
    torch._dynamo.reset()


def _any_number_of_tokens(*tensors: Tensor | None) -> None:
    """Tell the compiler that the first dimension varies."""
    for tensor in tensors:
        if tensor is not None:
            torch._dynamo.maybe_mark_dynamic(tensor, 0)


def _merged_layer(layer: Any) -> LayerWeights:
    attention = layer.self_attn
    qkv, out, gate_up, down = (projections.merged(group) for group in _groups(layer))
    return LayerWeights(
        qkv,
        out,
        gate_up,
        down,
        norms=Norms(
            layer.input_layernorm.weight.data,
            layer.post_attention_layernorm.weight.data,
            attention.q_norm.weight.data if hasattr(attention, "q_norm") else None,
            attention.k_norm.weight.data if hasattr(attention, "k_norm") else None,
        ),
    )


def _groups(layer: Any) -> list[list[Any]]:
    """A layer's linear modules, those of one input together; Phi's are merged as they come."""
    attention, mlp = layer.self_attn, layer.mlp
    has_qkv, has_gate_up = hasattr(attention, "qkv_proj"), hasattr(mlp, "gate_up_proj")
    return [
        [attention.qkv_proj] if has_qkv else [attention.q_proj, attention.k_proj, attention.v_proj],
        [attention.o_proj],
        [mlp.gate_up_proj] if has_gate_up else [mlp.gate_proj, mlp.up_proj],
        [mlp.down_proj],
    ]


def _shape(model: Any, layer: Any, longest: int) -> LayerShape:
    config = model.config
    some = next(module for module in model.modules() if isinstance(module, LoraLinear))
    groups = _groups(layer)
    return LayerShape(
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_size=layer.self_attn.head_dim,
        epsilon=config.rms_norm_eps,
        window=window_of(config, longest),
        longest=longest,
        probability=some.dropout.probability,
        scale=some.scale,
        first_rows=tuple(projections.rows_of_adapters(group) for group in groups),
        features=tuple((sum(one.out_features for one in group), group[0].in_features) for group in groups),
    )


def _in_fp8(weights: LayerWeights, shape: LayerShape) -> tuple[LayerWeights, float]:
    """A layer with its frozen weights in e4m3, and how far its products then are from its own."""
    found = [projections.in_fp8(one, width) for one, (_, width) in zip(weights[:4], shape.features, strict=True)]
    qkv, out, gate_up, down = (one for one, _ in found)
    return LayerWeights(qkv, out, gate_up, down, weights.norms), max(apart for _, apart in found)


def _all_copies(layers: Sequence[LayerWeights], shapes: Sequence[LayerShape]) -> list[tuple[Tensor, Tensor]]:
    return [
        pair
        for layer, shape in zip(layers, shapes, strict=True)
        for projection, (_, width), first_rows in zip(layer[:4], shape.features, shape.first_rows, strict=True)
        for pair in projections.copies(projection, width, first_rows)
    ]
