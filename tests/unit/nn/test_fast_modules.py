"""What the packed way replaces is there to be replaced, computes the same, and is put back: a release may break it."""

import sys

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from slingshot.nn import fast_modules
from tests.unit.tiny_models import tiny_model


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3", "phi3"])
def test_norms_are_replaced_by_one_that_computes_the_same(family):
    model = tiny_model(family)
    norms = [module for module in model.modules() if fast_modules._is_rms_norm(module)]
    assert len(norms) >= 2 * model.config.num_hidden_layers + 1
    hidden = torch.randn(5, norms[0].weight.shape[0])
    own = norms[0](hidden)
    fast_modules.replace_modules(model)
    assert all("forward" in vars(norm) for norm in norms)
    torch.testing.assert_close(norms[0](hidden), own)
    fast_modules.restore_modules(model)
    assert not any("forward" in vars(norm) for norm in norms)


def test_a_norm_that_adds_one_to_its_weight_is_left_alone():
    assert not [module for module in tiny_model("gemma").modules() if fast_modules._is_rms_norm(module)]
    assert fast_modules._is_rms_norm(LlamaRMSNorm(4))


@pytest.mark.parametrize("family", sorted(fast_modules._HALVES))
def test_a_familys_rotation_has_the_name_the_arguments_and_the_halves_that_the_kernel_takes(family):
    rotate = getattr(sys.modules[type(tiny_model(family)).__module__], fast_modules._ROTATION)
    query, key = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8)
    angles = torch.randn(1, 6, 4).repeat(1, 1, 2)
    turned = rotate(query, key, angles.cos(), angles.sin())
    for states, found in zip((query, key), turned, strict=True):
        first, second = states.chunk(2, -1)
        cos, sin = angles.cos()[:, None, :, :4], angles.sin()[:, None, :, :4]
        torch.testing.assert_close(found, torch.cat([first * cos - second * sin, second * cos + first * sin], -1))
