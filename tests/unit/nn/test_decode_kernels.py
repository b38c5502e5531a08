"""The kernel for one new token against torch's own attention; it needs a GPU, the plan of its splits does not."""

import pytest
import torch

from slingshot.nn import decode_kernels
from slingshot.nn.sequence_attention import attend_one_sequence

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(
    ("programs", "longest", "splits"),
    [(8, 40, 1), (8, 128, 2), (8, 2048, 16), (512, 2048, 2), (1024, 2048, 1), (1408, 100_000, 1)],
)
def test_keys_are_split_where_sequences_are_few_and_never_below_a_block(programs, longest, splits):
    assert decode_kernels._splits(programs, longest) == splits


def test_a_processor_float32_and_odd_head_sizes_go_torchs_way():
    assert not decode_kernels.takes(torch.zeros(1, 2, 64, dtype=torch.bfloat16))
    for dtype, size in ((torch.float32, 64), (torch.bfloat16, 80), (torch.bfloat16, 512)):
        assert not decode_kernels.takes(torch.zeros(1, 2, size, dtype=dtype, device="meta"))


@needs_gpu
@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize(("count", "heads", "key_heads", "size"), [(3, 8, 2, 64), (1, 4, 4, 128), (40, 32, 8, 128)])
def test_the_kernel_attends_as_torch_does(count, heads, key_heads, size, window):
    draw = torch.Generator("cuda").manual_seed(0)
    lengths = torch.randint(1, 700, (count,), device="cuda", dtype=torch.int32, generator=draw)
    lengths[0] = 1
    starts = (lengths.cumsum(0) - lengths + 3).to(torch.int32)
    rows = int(lengths.sum()) + 3
    query, keys, values = (
        torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=draw)
        for shape in ((count, heads, size), (rows, key_heads, size), (rows, key_heads, size))
    )
    ours = decode_kernels.attend_newest(query, keys, values, starts, lengths, 700, size**-0.5, window)
    for index, (start, length) in enumerate(zip(starts.tolist(), lengths.tolist(), strict=True)):
        own = slice(start, start + length)
        one, seen, held = (part.transpose(0, 1)[None] for part in (query[index : index + 1], keys[own], values[own]))
        theirs = attend_one_sequence(one, seen, held, size**-0.5, window, None)[0].transpose(0, 1)[0]
        torch.testing.assert_close(ours[index], theirs, atol=0.02, rtol=0.02)
