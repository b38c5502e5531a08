"""The kernels between the products against plain torch; they need a GPU, or Triton's interpreter (TRITON_INTERPRET)."""

import os

import pytest
import torch
import torch.nn.functional as F

from slingshot.nn import layer_kernels

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pytestmark = pytest.mark.skipif(
    layer_kernels.triton is None or (DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1"),
    reason="needs a GPU",
)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(DEVICE, torch.bfloat16)


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(9, 3, 64), (32, 8, 128), (4, 4, 16)])
def test_queries_turn_in_place_and_keys_and_values_go_to_their_rows(heads, key_heads, size):
    tokens, rows = 5, 11
    states = drawn(tokens, heads + 2 * key_heads, size)
    half = drawn(tokens, size // 2)
    cos, sin = (torch.cat([part, part], -1) for part in (half.cos(), half.sin()))
    first, second = states[:, : heads + key_heads].float().chunk(2, -1)
    wide_cos, wide_sin = cos[:, None, : size // 2].float(), sin[:, None, : size // 2].float()
    turned = torch.cat([first * wide_cos - second * wide_sin, second * wide_cos + first * wide_sin], -1).bfloat16()
    value = states[:, heads + key_heads :].clone()
    keys, values = torch.zeros(2, rows, key_heads, size, dtype=torch.bfloat16, device=DEVICE)
    at = torch.tensor([7, 0, 10, 3, 4], device=DEVICE)
    layer_kernels.rotate_and_store(states, cos, sin, at, keys, values, heads)
    torch.testing.assert_close(states[:, :heads], turned[:, :heads])
    torch.testing.assert_close(keys[at], turned[:, heads:])
    assert torch.equal(values[at], value)
    assert not keys[[1, 2, 5, 6, 8, 9]].any() and not values[[1, 2, 5, 6, 8, 9]].any()


@pytest.mark.parametrize("width", [24, 1536, 14336])
def test_the_activation_is_silu_of_gate_times_up(width):
    gate_up = drawn(3, 2 * width)
    gate, up = gate_up.chunk(2, -1)
    torch.testing.assert_close(layer_kernels.silu_mul(gate_up), F.silu(gate) * up, atol=2e-2, rtol=2e-2)
