"""Weights and inputs of linear layers in 8-bit floating point (e4m3): twice the matrix rate on cards that have it.

A weight is scaled per output row, once, when the model is loaded; an input per token, when it is used (Micikevicius et
al. 2022; scaling per row and token as in Xiao et al. 2022). Sums are in float32, results in the network's own type.
Embeddings, norms and the head keep their type. A processor without such products multiplies what the numbers stand
for: the same values but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slingshot.core.errors import StudyError
from slingshot.nn import fp8_kernels

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LARGEST = 448.0  # of e4m3
LEAST_CAPABILITY = (8, 9)


class Fp8Linear(nn.Module):
    """A linear layer whose weight is e4m3 (out, in), with a float32 scale per row (out, 1)."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    quantizes_inputs = True  # of all such layers

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.out_features, self.in_features = weight.shape
        self.dtype = dtype

    @classmethod
    def of(cls, linear: nn.Linear, device: torch.device) -> Fp8Linear:
        """A linear layer, quantized on the device."""
        weight, scale = quantize_rows(linear.weight.data.to(device))
        bias = None if linear.bias is None else linear.bias.data.to(device)
        return cls(weight, scale, bias, linear.weight.dtype)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., in) to (..., out); they may already be e4m3 with their scales in `row_scale`."""
        if not self.quantizes_inputs:
            return self._shifted(F.linear(hidden, self.weight.to(self.dtype)) * self.scale.t().to(self.dtype))
        rows = hidden.reshape(-1, self.in_features)
        if hidden.dtype == torch.float8_e4m3fn:
            quantized, scale = rows, hidden.row_scale  # type: ignore[attr-defined]
        else:
            quantized, scale = quantize_rows(rows)
        out = multiply(quantized, scale, self.weight, self.scale, self.dtype)
        return self._shifted(out.view(*hidden.shape[:-1], self.out_features))

    def _shifted(self, out: Tensor) -> Tensor:
        return out if self.bias is None else out + self.bias


def quantize_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, K) as e4m3, and the float32 scale (N, 1) that each row's numbers are to be multiplied by.

    Within torch.compile this is plain torch, which the compiler puts into the kernel before it.
    """
    by_kernel = rows.is_cuda and fp8_kernels.triton is not None and not torch.compiler.is_compiling()
    if by_kernel and rows.is_contiguous() and rows.shape[1] <= fp8_kernels.WIDEST:
        return fp8_kernels.quantize_rows(rows)
    scale = (rows.float().abs().amax(-1, keepdim=True) / LARGEST).clamp(min=fp8_kernels.SMALLEST_SCALE)
    return (rows.float() / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn), scale


def multiply(rows: Tensor, row_scale: Tensor, weight: Tensor, weight_scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Scaled rows (N, K) times a scaled weight (M, K), transposed: (N, M) in `dtype`."""
    if rows.is_cuda:
        return F.scaled_mm(
            rows,
            weight.t(),
            row_scale,
            F.ScalingType.RowWise,
            weight_scale.t(),
            F.ScalingType.RowWise,
            output_dtype=dtype,
            use_fast_accum=True,
        )
    return ((rows.float() @ weight.float().t()) * row_scale * weight_scale.t()).to(dtype)


def lacking(device: str) -> str | None:
    """What a GPU or torch would need for products in e4m3; None where they have it, and for a processor."""
    if device != "cuda":
        return None
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        return (
            f"a GPU of compute capability 8.9 or higher (Ada, Hopper), and "
            f"{torch.cuda.get_device_name()} has {capability[0]}.{capability[1]}"
        )
    return None if hasattr(F, "scaled_mm") else f"torch 2.10 or newer, and this is {torch.__version__}"


def require_fp8(name: str, device: str) -> None:
    """Raise a StudyError where the GPU has no e4m3 products, or torch no call for them."""
    needed = lacking(device)
    if needed is not None:
        raise StudyError(f"{name}: quantization fp8 needs {needed}; set quantization: nf4 or none")


def quantize_linears(model: PreTrainedModel, device: torch.device) -> None:
    """Replace every linear layer but the head by one in e4m3, one after another, and move the model to the device.

    The model may be on the processor: no more than one layer is ever on the device in its own type.
    """
    head = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear and child is not head and _fits(child):
                setattr(parent, name, Fp8Linear.of(child, device))
                child.weight.data = child.weight.data.new_empty(0)
    nn.Module.to(model, device)


@contextmanager
def unquantized_inputs() -> Iterator[None]:
    """Let layers in e4m3 multiply their inputs as they are, for comparisons of two ways through the network.

    A number that lies between two of e4m3 goes to either by the last bit of a sum, which says nothing about the ways.
    """
    Fp8Linear.quantizes_inputs = False
    try:
        yield
    finally:
        Fp8Linear.quantizes_inputs = True


def _fits(linear: nn.Linear) -> bool:
    """Whether the card multiplies these shapes: multiples of 16."""
    return linear.in_features % 16 == 0 and linear.out_features % 16 == 0
