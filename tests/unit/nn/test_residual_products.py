"""A layer that adds in place says what the layer of transformers says."""

import pytest
import torch

from slingshot.nn import residual_products
from tests.unit.tiny_models import tiny_model

IDS = torch.tensor([[5, 40, 3, 77, 12, 9]])


@torch.inference_mode()
def logits(model):
    return model(IDS, use_cache=False).logits


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_layers_of_the_llama_kind_add_in_place_and_come_back(family):
    model = tiny_model(family)
    plain, layer = logits(model), model.model.layers[0]
    residual_products.fuse(model)
    hidden = model.get_input_embeddings()(IDS).detach()
    rotary = model.model.rotary_emb(hidden, torch.arange(6)[None])
    with torch.inference_mode():
        assert layer(hidden, attention_mask=None, position_embeddings=rotary).data_ptr() == hidden.data_ptr()
    torch.testing.assert_close(logits(model), plain, rtol=1e-4, atol=1e-4)
    residual_products.unfuse(model)
    assert torch.equal(logits(model), plain)
    assert "forward" not in vars(layer) | vars(layer.mlp.down_proj)


@pytest.mark.parametrize("family", ["gemma", "gemma3_text", "phi3"])
def test_other_layers_stay_as_they_are(family):
    model = tiny_model(family)
    residual_products.fuse(model)
    assert not any("forward" in vars(module) for module in model.modules())


def test_a_bias_stays_with_its_layer():
    model = tiny_model("llama", attention_bias=True)
    plain = logits(model)
    residual_products.fuse(model)
    assert "forward" not in vars(model.model.layers[0])
    assert torch.equal(logits(model), plain)


def test_four_bit_weights_are_unpacked_as_bitsandbytes_unpacks_them():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    torch.manual_seed(3)
    linear = bitsandbytes.nn.Linear4bit(64, 32, bias=False, compute_dtype=torch.float32, quant_type="nf4").to("cpu")
    hidden, inputs = torch.randn(1, 5, 32), torch.randn(1, 5, 64)
    product = inputs @ bitsandbytes.functional.dequantize_4bit(linear.weight.data, linear.weight.quant_state).T
    assert product.norm() > 1 and residual_products._takes_sums(linear)
    held = residual_products._Sum(hidden.clone())
    torch.testing.assert_close(residual_products._add_product(linear, held, inputs), hidden + product)
