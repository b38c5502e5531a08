"""Kernels that a GPU does not have are not called on it."""

from types import SimpleNamespace

import pytest
import torch

from slingshot.nn import decode_kernels, flash_kernels, kernel_support, layer_kernels

CARD = torch.device("cuda", 0)


@pytest.fixture(params=[((7, 5), False), ((8, 0), True), ((9, 0), True)], ids=["Turing", "Ampere", "Hopper"])
def served(request, monkeypatch):
    """Whether a pretended card of some capability has the kernels; torch and Triton offer them here."""
    capability, expected = request.param
    kernel_support._is_recent.cache_clear()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(flash_kernels, "varlen_attn", object())
    for module in (decode_kernels, layer_kernels):
        monkeypatch.setattr(module, "triton", object())
    yield expected
    kernel_support._is_recent.cache_clear()


def test_cards_before_ampere_compute_by_torchs_own_functions(served):
    query = SimpleNamespace(device=CARD, dtype=torch.float16, shape=(5, 4, 64))
    assert flash_kernels.takes(query) == served
    assert decode_kernels.takes(query) == served
    assert layer_kernels.run_on(CARD) == served


def test_a_processor_has_none_of_them(served):
    assert not layer_kernels.run_on(torch.device("cpu"))
    assert not flash_kernels.takes(torch.zeros(5, 4, 64, dtype=torch.bfloat16))
