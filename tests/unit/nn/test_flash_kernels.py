"""flash-attn-4 serves only where torch can call its kernels both ways; a note says why not."""

import pytest
import torch

from slingshot.nn import flash_kernels


class Refused(torch.autograd.Function):
    """Attention whose gradient is refused, as torch 2.11 refuses flash-attn-4's."""

    @staticmethod
    def forward(ctx, query):
        return query.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError("windowed attention not supported")


def attention(query, *others, **options):
    return query * 1


@pytest.fixture
def registry(monkeypatch):
    """A card and a package that there are not, and what is active."""
    active = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(flash_kernels, "_is_installed", lambda: True)
    monkeypatch.setattr(flash_kernels, "_ACCEPTED", set())
    monkeypatch.setattr(torch, "zeros", lambda *size, device, **options: torch.ones(*size, **options))
    monkeypatch.setattr(torch, "tensor", lambda *given, device, **options: torch.arange(2, dtype=torch.int32))
    monkeypatch.setattr(torch.nn.attention, "activate_flash_attention_impl", active.append, raising=False)
    monkeypatch.setattr(
        torch.nn.attention, "current_flash_attention_impl", lambda: active[-1] if active else None, raising=False
    )
    monkeypatch.setattr(torch.nn.attention, "restore_flash_attention_impl", active.clear, raising=False)
    return active


def test_the_package_serves_where_a_few_tokens_pass_both_ways(registry, monkeypatch):
    monkeypatch.setattr(flash_kernels, "varlen_attn", attention)
    assert flash_kernels.activate_fastest_kernels(torch.device("cuda")) == ["attention by flash-attn-4"]
    assert registry == ["FA4"]


def test_a_package_without_a_gradient_is_put_away_with_a_note(registry, monkeypatch):
    monkeypatch.setattr(flash_kernels, "varlen_attn", lambda query, *others, **options: Refused.apply(query))
    with torch.no_grad():
        notes = flash_kernels.activate_fastest_kernels(torch.device("cuda"))
    assert notes == [
        "attention without flash-attn-4, which is installed: RuntimeError: windowed attention not supported"
    ]
    assert registry == []
