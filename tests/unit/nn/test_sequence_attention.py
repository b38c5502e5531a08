"""Attention of one sequence: the newest token's, with and without heads that share keys, by the definition."""

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
