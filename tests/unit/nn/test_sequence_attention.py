"""Attention of one sequence: the newest token's, with and without heads that share keys, by the definition; and
gradients in half precision."""

import pytest
import torch

from slingshot.nn.sequence_attention import attend_one_sequence


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("key_heads", [1, 2, 6])
@pytest.mark.parametrize("length", [1, 5])
def test_the_newest_token_attends_to_all_before_it(key_heads: int, length: int, window: int | None) -> None:
    draw = torch.Generator().manual_seed(0)
    heads, size, scale = 6, 8, 0.3
    query = torch.randn(1, heads, 1, size, generator=draw)
    keys, values = (  # values may be narrower than keys: DeepSeek's latent attention
        torch.randn(length, key_heads, width, generator=draw).transpose(0, 1)[None] for width in (size, size - 3)
    )
    ours = attend_one_sequence(query, keys, values, scale, window)
    for head in range(heads):
        shared = head // (heads // key_heads)
        seen, held = (part[0, shared, -(window or length) :] for part in (keys, values))
        weights = (seen @ query[0, head, 0] * scale).softmax(0)
        torch.testing.assert_close(ours[0, head, 0], weights @ held)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_gradients_in_half_precision_are_those_of_float32_but_for_rounding(
    window: int | None, softcap: float | None
) -> None:
    draw = torch.Generator().manual_seed(0)
    heads, key_heads, length, size = 6, 2, 9, 8
    given = [torch.randn(1, count, length, size, generator=draw) for count in (heads, key_heads, key_heads)]
    outer = torch.randn(1, heads, length, size, generator=draw).bfloat16()
    halves = [part.bfloat16().requires_grad_() for part in given]
    wholes = [part.bfloat16().float().requires_grad_() for part in given]
    ours, exact = (attend_one_sequence(*parts, 0.3, window, softcap) for parts in (halves, wholes))
    ours.backward(outer)
    exact.backward(outer.float())
    assert ours.dtype == torch.bfloat16
    for found, right in ((ours, exact), *((half.grad, whole.grad) for half, whole in zip(halves, wholes, strict=True))):
        assert torch.equal(found, right.bfloat16())
