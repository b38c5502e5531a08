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


def angles(tokens: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    half = drawn(tokens, size // 2)
    return torch.cat([half, half], -1).cos(), torch.cat([half, half], -1).sin()


def turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """(tokens, heads, head size), in float32 as the formula has it."""
    half = states.shape[-1] // 2
    first, second = states.float().chunk(2, -1)
    cos, sin = cos[:, None, :half].float(), sin[:, None, :half].float()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1).bfloat16()


@pytest.mark.parametrize(("heads", "size"), [(9, 64), (8, 128), (1, 16)])
def test_heads_turn_in_place(heads, size):
    states, (cos, sin) = drawn(5, heads, size), angles(5, size)
    expected = turned(states, cos, sin)
    layer_kernels.rotate_(states.transpose(0, 1)[None], cos[None], sin[None])
    torch.testing.assert_close(states, expected)


@pytest.mark.parametrize(("heads", "key_heads", "size"), [(9, 3, 64), (32, 8, 128), (4, 4, 16)])
def test_queries_turn_in_place_and_keys_and_values_go_to_their_rows(heads, key_heads, size):
    tokens, rows = 5, 11
    states = drawn(tokens, heads + 2 * key_heads, size)
    cos, sin = angles(tokens, size)
    expected = turned(states[:, : heads + key_heads], cos, sin)
    value = states[:, heads + key_heads :].clone()
    keys, values = torch.zeros(2, rows, key_heads, size, dtype=torch.bfloat16, device=DEVICE)
    at = torch.tensor([7, 0, 10, 3, 4], device=DEVICE)
    layer_kernels.rotate_and_store(states, cos, sin, at, keys, values, heads)
    torch.testing.assert_close(states[:, :heads], expected[:, :heads])
    torch.testing.assert_close(keys[at], expected[:, heads:])
    assert torch.equal(values[at], value)
    assert not keys[[1, 2, 5, 6, 8, 9]].any() and not values[[1, 2, 5, 6, 8, 9]].any()


@pytest.mark.parametrize("width", [24, 1536, 14336])
def test_the_activation_is_silu_of_gate_times_up(width):
    gate_up = drawn(3, 2 * width)
    gate, up = gate_up.chunk(2, -1)
    torch.testing.assert_close(layer_kernels.silu_mul(gate_up), F.silu(gate) * up, atol=2e-2, rtol=2e-2)
