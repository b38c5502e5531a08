"""Flash attention 4 has no kernels for a CPU: a stand-in for the package computes what its kernels are asked for."""

import sys
from itertools import pairwise
from types import ModuleType

import pytest
import torch

from slingshot.nn import flash_attention_4
from slingshot.nn import packed_attention as attention
from tests.unit.tiny_models import tiny_model

HEADS, KEY_HEADS, SIZE = 4, 2, 16
LENGTHS = (5, 1, 12)


def sequences(query, key, value, ends, scale, more):
    """Each sequence's rows, its q, k and v (heads, tokens, size) in float32, and its attention weights."""
    for start, end in pairwise(ends.tolist()):
        q, k, v = (part[start:end].float().transpose(0, 1) for part in (query, key, value))
        k, v = (part.repeat_interleave(HEADS // KEY_HEADS, 0) for part in (k, v))
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)
        left, right = more.get("window_size_left"), more.get("window_size_right")
        seen = distance >= 0 if more.get("causal") else (distance <= left) & (-distance <= right)
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(~seen, -torch.inf)
        yield slice(start, end), q, k, v, scores.softmax(-1), scores.logsumexp(-1)


class Package(ModuleType):
    def __init__(self):
        super().__init__(flash_attention_4.KERNELS)
        self.deterministic = []
        self.error = 0.0

    def _flash_attn_fwd(self, query, key, value, *, cu_seqlens_q, cu_seqlens_k, softmax_scale, return_lse, **more):
        assert return_lse and torch.equal(cu_seqlens_q, cu_seqlens_k)
        assert more["max_seqlen_q"] >= int(cu_seqlens_q.diff().max())
        outs, normalizers = [], []
        for _, _, _, v, weights, normalizer in sequences(query, key, value, cu_seqlens_q, softmax_scale, more):
            outs.append((weights @ v).transpose(0, 1) * (1 + self.error))
            normalizers.append(normalizer)
        # The number of results has changed between versions of the package.
        return torch.cat(outs).to(query.dtype), torch.cat(normalizers, 1), None, None, None

    def _flash_attn_bwd(self, query, key, value, out, gradient, lse, *, cu_seqlens_q, softmax_scale, **more):
        """Dao et al. 2022, arXiv:2205.14135, appendix B.2."""
        self.deterministic.append(more["deterministic"])
        found = [torch.zeros(part.shape) for part in (query, key, value)]
        for rows, q, k, v, weights, normalizer in sequences(query, key, value, cu_seqlens_q, softmax_scale, more):
            torch.testing.assert_close(normalizer, lse[:, rows])
            given, said = (part[rows].float().transpose(0, 1) for part in (gradient, out))
            of_scores = weights * (given @ v.transpose(1, 2) - (given * said).sum(-1, keepdim=True)) * softmax_scale
            products = (of_scores @ k, of_scores.transpose(1, 2) @ q, weights.transpose(1, 2) @ given)
            for target, product in zip(found, products, strict=True):
                target[rows] = product.unflatten(0, (target.shape[1], -1)).sum(1).transpose(0, 1)
        return tuple(part.to(query.dtype) for part in found)


@pytest.fixture
def package(monkeypatch):
    module = Package()
    monkeypatch.setitem(sys.modules, flash_attention_4.KERNELS, module)
    monkeypatch.setattr(flash_attention_4, "is_installed", lambda device: True)
    monkeypatch.setattr(attention, "_use_flash_4", False)
    return module


def inputs():
    random = torch.Generator().manual_seed(1)
    return [
        torch.randn(sum(LENGTHS), heads, SIZE, generator=random).to(torch.bfloat16).requires_grad_()
        for heads in (HEADS, KEY_HEADS, KEY_HEADS)
    ]


def attended(window):
    query, key, value = given = inputs()
    ends = attention.bounds(LENGTHS, "cpu")["cu_seq_lens_q"]
    out = attention.packed_attention(query, key, value, ends, max(LENGTHS), 0.3, window)
    return [out, *torch.autograd.grad(out.float().square().sum(), given)]


@pytest.mark.parametrize("window", [None, 4])
def test_it_gives_what_torch_gives(package, window):
    expected = attended(window)
    notes = attention.use_packed_attention(tiny_model("llama").to(torch.bfloat16), 64)
    assert len(notes) == 1 and notes[0].startswith("attention by flash-attn-4")
    asked = len(package.deterministic)
    for one, other in zip(attended(window), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.03, atol=0.03)
    assert len(package.deterministic) == asked + 1, "the kernels were not asked"


def test_deterministic_mode_reaches_the_kernels(package):
    attention.use_packed_attention(tiny_model("llama").to(torch.bfloat16), 64)
    torch.use_deterministic_algorithms(True)
    try:
        attended(None)
    finally:
        torch.use_deterministic_algorithms(False)
    assert package.deterministic[-1] is True


def test_kernels_that_are_wrong_are_not_used(package):
    package.error = 0.1
    expected = attended(None)
    notes = attention.use_packed_attention(tiny_model("llama").to(torch.bfloat16), 64)
    assert notes[0].startswith("attention without flash-attn-4")
    asked = len(package.deterministic)
    assert torch.equal(attended(None)[0], expected[0]) and len(package.deterministic) == asked


def test_kernels_that_fail_are_not_used(package, monkeypatch):
    monkeypatch.delattr(Package, "_flash_attn_bwd")
    notes = attention.use_packed_attention(tiny_model("llama").to(torch.bfloat16), 64)
    assert "AttributeError" in notes[0] and attention._use_flash_4 is False


def test_without_a_gpu_it_is_not_installed():
    assert not flash_attention_4.is_installed(torch.device("cpu"))
    assert attention.use_packed_attention(tiny_model("llama"), 64) == []


@pytest.mark.parametrize("window", [None, 4])
def test_the_operators_compile(package, window):
    query, key, value = inputs()
    ends = attention.bounds(LENGTHS, "cpu")["cu_seq_lens_q"]
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(
        flash_attention_4.attend, (query, key, value, ends, max(LENGTHS), 0.3, window), test_utils=checks
    )
