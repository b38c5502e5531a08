"""A frozen layer in e4m3 with its adapters: both products against what the numbers stand for, and a whole network."""

import pytest
import torch

from slingshot.nn import fp8, lora
from slingshot.nn import packed_attention as attention
from slingshot.training import forward_paths, fused_layers
from slingshot.training.fp8_product import Fp8Weight, distance_from_dense, fp8_product, in_fp8
from tests.unit.tiny_models import tiny_model
from tests.unit.training.test_forward_paths import adapted, loss_and_gradients
from tests.unit.training_inputs import random_samples

SCALE = 2.0
FIRST_ROWS = (0, 16)


@pytest.fixture
def parts():
    """Inputs (5, 32), h (5, 2 * 4), W (48, 32) and two adapters' B, of rows 0 to 15 and 16 to 47."""
    draw = torch.Generator().manual_seed(0)
    inputs, low, dense = (torch.randn(shape, generator=draw) for shape in ((5, 32), (5, 8), (48, 32)))
    up = [torch.randn(rows, 4, generator=draw) for rows in (16, 32)]
    return inputs.requires_grad_(), low.requires_grad_(), dense, [one.requires_grad_() for one in up]


def columns_of(up):
    columns = torch.zeros(48, 8)
    columns[:16, :4], columns[16:, 4:] = up[0].detach() * SCALE, up[1].detach() * SCALE
    return columns


def meant(rows):
    """What rows stand for once they are quantized."""
    numbers, scales = fp8.quantize_rows(rows.detach())
    return numbers.float() * scales


def run(inputs, low, weight, up, product=fp8_product):
    return product(inputs, low, weight, columns_of(up), up, FIRST_ROWS, SCALE)


def test_outputs_and_gradients_are_those_of_the_quantized_numbers(parts):
    inputs, low, dense, up = parts
    out = run(inputs, low, in_fp8(dense), up)
    torch.testing.assert_close(out, meant(inputs) @ meant(dense).T + low @ columns_of(up).T)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(gradient)
    torch.testing.assert_close(inputs.grad, meant(gradient) @ meant(dense.T).T)
    torch.testing.assert_close(low.grad, gradient @ columns_of(up))
    torch.testing.assert_close(up[0].grad, SCALE * gradient[:, :16].T @ low[:, :4])  # adapters are never quantized
    torch.testing.assert_close(up[1].grad, SCALE * gradient[:, 16:].T @ low[:, 4:])


def test_the_compiler_takes_it_whole(parts):
    inputs, low, dense, up = parts
    weight = in_fp8(dense)
    plain = torch.autograd.grad(run(inputs, low, weight, up).square().sum(), [inputs, low, *up])
    compiled = torch.compile(fp8_product, fullgraph=True, backend="aot_eager")
    again = torch.autograd.grad(run(inputs, low, weight, up, compiled).square().sum(), [inputs, low, *up])
    torch.testing.assert_close(plain, again)


def test_a_wrong_scale_is_seen(parts):
    dense = parts[2]
    weight = in_fp8(dense)
    assert 0.01 < distance_from_dense(weight, dense) < 0.05
    wrong = Fp8Weight(weight.rows, weight.row_scales, weight.columns, weight.column_scales * 1.1)
    assert distance_from_dense(wrong, dense) > 0.06


@pytest.mark.parametrize("layers", [None, 2])
def test_a_network_in_fp8_learns_in_the_same_direction(layers):
    model, shared = adapted("qwen3", layers=layers)
    model, samples = model.float(), random_samples(4)
    attention.use_packed_attention(model)
    path = fused_layers.fuse(model, longest=64, compiled=False)
    plain = loss_and_gradients(model, shared, path.logits, [samples])
    assert path.multiply_in_fp8() is None
    ours = loss_and_gradients(model, shared, path.logits, [samples])
    assert ours[0] == pytest.approx(plain[0], rel=0.02)
    assert ours[0] != plain[0]
    for one, two in zip(plain[1], ours[1], strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0) > 0.95
    for _, layer in lora.adapters(model):
        layer.lora_B.data.mul_(2)
    path.refresh()  # new adapters arrive here, too
    assert loss_and_gradients(model, shared, path.logits, [samples])[0] != pytest.approx(ours[0], rel=1e-3)


def test_a_way_without_merged_layers_says_that_it_is_not_in_fp8():
    model = tiny_model("llama")
    lora.add_adapters(model, adapted_recipe(), 4, 8, seed=0)
    _, notes = forward_paths.choose(model, random_samples(3), 64, on_gpu=False, in_fp8=True)
    assert any("finetuned without fp8" in note for note in notes)


def adapted_recipe():
    from slingshot.config.recipe import Lora

    return Lora(r=4, alpha=8, dropout=0.0)
