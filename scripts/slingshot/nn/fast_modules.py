"""What the packed way replaces in a network while it answers, and puts back afterwards: fewer trips to a GPU's memory.

- RMS norms of the Llama kind become one kernel instead of six;
- the rotary embedding, `apply_rotary_pos_emb` in the family's module of transformers, becomes one Triton kernel that
  works in place, for layers that are not merged (merged_layers.py).

One buys 13% more answers per second on an H200, the other bought 7% on an H100 before layers were merged
(benchmarks/README.md). Triton comes with torch's CUDA builds; where it is missing, a network keeps its own rotation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from slingshot.nn import layer_kernels

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Families whose rotary embedding turns a head's first half against its second.
_HALVES = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"}

_ROTATION = "apply_rotary_pos_emb"


def replace_modules(model: PreTrainedModel) -> None:
    """Let norms be one kernel each, and on a GPU rotations, too."""
    for module in model.modules():
        if _is_rms_norm(module):
            module.forward = partial(_rms_norm, module)
    has_kernel = layer_kernels.run_on(model.device)
    if not has_kernel or model.config.get_text_config().model_type not in _HALVES:
        return
    home = sys.modules[type(model).__module__]
    original = getattr(home, _ROTATION, None)
    if original is not None and not isinstance(original, partial):
        setattr(home, _ROTATION, partial(_rotate, original))


def restore_modules(model: PreTrainedModel) -> None:
    """Undo `replace_modules`."""
    for module in model.modules():
        if _is_rms_norm(module):
            module.__dict__.pop("forward", None)
    home = sys.modules[type(model).__module__]
    patched = getattr(home, _ROTATION, None)
    if isinstance(patched, partial):
        setattr(home, _ROTATION, patched.args[0])


def _is_rms_norm(module: nn.Module) -> bool:
    """A norm of the Llama kind; Gemma's, which adds 1 to its weight, has no `variance_epsilon`."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


def _rms_norm(module: Any, hidden: Tensor) -> Tensor:
    return F.rms_norm(hidden, module.weight.shape, module.weight, module.variance_epsilon)


def _rotate(
    original: Callable[..., tuple[Tensor, Tensor]], query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, *more: Any
) -> tuple[Tensor, Tensor]:
    """`apply_rotary_pos_emb` of transformers; in place where the kernel takes the shapes."""
    size = query.shape[-1]
    fits = query.is_cuda and len(query) == 1 and cos.shape[-1] == size and size & (size - 1) == 0
    if not (fits and query.transpose(1, 2).is_contiguous() and key.transpose(1, 2).is_contiguous()):
        return original(query, key, cos, sin, *more)
    cos, sin = cos.contiguous(), sin.contiguous()
    for states in (query, key):
        layer_kernels.rotate_(states, cos, sin)
    return query, key
