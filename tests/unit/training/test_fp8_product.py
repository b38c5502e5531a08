"""A frozen layer in e4m3 with its adapters: both products against what the numbers stand for, and a whole network."""

import re
import shutil

import pytest
import torch

from slingshot.core.errors import StudyError
from slingshot.nn import fp8, lora
from slingshot.nn import packed_attention as attention
from slingshot.training import batches as packing
from slingshot.training import forward_paths, fused_layers
from slingshot.training import fp8_product as product_module
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


@pytest.fixture
def compiler():
    """Compiles by a backend, without graph breaks, and forgets it all at the end."""
    torch._dynamo.reset()
    plain = torch.compile
    yield lambda function, backend: plain(function, fullgraph=True, backend=backend)
    torch._dynamo.reset()


without_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
BACKENDS = ["aot_eager", pytest.param("inductor", marks=without_compiler)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_compiler_takes_it_whole(parts, compiler, backend):
    inputs, low, dense, up = parts
    weight = in_fp8(dense)
    plain = torch.autograd.grad(run(inputs, low, weight, up).square().sum(), [inputs, low, *up])
    compiled = compiler(fp8_product, backend)
    again = torch.autograd.grad(run(inputs, low, weight, up, compiled).square().sum(), [inputs, low, *up])
    torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_compiler_takes_it_where_nothing_needs_a_gradient(parts, compiler, backend):
    """It would call the forward pass of an autograd.Function without its context."""
    inputs, low, dense, up = parts
    weight = in_fp8(dense)
    compiled = compiler(fp8_product, backend)
    expected = run(inputs, low, weight, up)
    with torch.no_grad():
        torch.testing.assert_close(run(inputs, low, weight, up, compiled), expected)
    frozen = [one.detach() for one in up]
    found = run(inputs.detach(), low.detach(), weight, frozen, compiled)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)
    trained = run(inputs.detach(), low.detach(), weight, up, compiled)  # the first layer that learns
    assert torch.autograd.grad(trained.sum(), up)[0].abs().sum() > 0


def whole(query, key, value, ends, longest, scale, window=None):
    """Causal attention over all tokens, which compiles on a processor."""
    query, key, value = (part.transpose(0, 1)[None] for part in (query, key, value))
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scale, enable_gqa=True
    )
    return attended[0].transpose(0, 1)


def learned(layers, compiled):
    """Losses and gradients of batches of two lengths, and logits without gradients, of a network in fp8."""
    model, shared = adapted("qwen3", layers=layers)
    model, batches = model.float(), [random_samples(4), random_samples(7)]
    attention.use_packed_attention(model)
    path = fused_layers.fuse(model, longest=64, compiled=compiled)
    assert path.multiply_in_fp8() is None
    found = [loss_and_gradients(model, shared, path.logits, [batch]) for batch in batches]
    shared.set_rows(None)
    with torch.no_grad():
        return found, path.logits(packing.pack(batches[0], seed=1, epoch=0))


@pytest.mark.parametrize("layers", [None, 1])
def test_compiled_layers_learn_what_plain_ones_do(layers, compiler, monkeypatch):
    """With adapters in every layer and in the last one alone, whose layers below need no gradient."""
    monkeypatch.setattr(fused_layers, "packed_attention", whole)
    plain, expected = learned(layers, compiled=False)
    monkeypatch.setattr(torch, "compile", lambda function, fullgraph: compiler(function, "aot_eager"))
    found, logits = learned(layers, compiled=True)
    torch.testing.assert_close(logits, expected)
    for (loss, gradients), (other, others) in zip(plain, found, strict=True):
        assert loss == pytest.approx(other, rel=1e-5)
        torch.testing.assert_close(gradients, others)


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


def test_sizes_that_the_card_does_not_multiply_are_named():
    said = product_module.unsupported([(48, 32), (40, 32)], torch.device("cpu"), torch.bfloat16)
    assert said == "layers of 40 numbers are no multiples of 16"
    assert product_module.unsupported([(48, 32)], torch.device("cpu"), torch.bfloat16) is None


def test_a_way_without_merged_layers_refuses_instead_of_another_result():
    model = tiny_model("llama")
    lora.add_adapters(model, adapted_recipe(), 4, 8, seed=0)
    with pytest.raises(StudyError, match=r"finetune\.fp8: only merged layers of unquantized weights can"):
        forward_paths.choose(model, random_samples(3), 64, on_gpu=False, in_fp8=True)


@pytest.mark.parametrize("ends", [None, torch.OutOfMemoryError])
def test_a_merged_way_says_how_far_fp8_moves_its_logits_or_that_memory_ends(monkeypatch, ends):
    model = tiny_model("llama", hidden_size=64, intermediate_size=96)
    lora.add_adapters(model, adapted_recipe(), 4, 8, seed=0)
    merged = forward_paths._Way(
        "merged layers", lambda *_: None, lambda *given: fused_layers.fuse(given[0], 128, compiled=False)
    )
    monkeypatch.setattr(forward_paths, "_merged", merged)
    if ends is not None:
        monkeypatch.setattr(product_module, "in_fp8", lambda weight: (_ for _ in ()).throw(ends()))
        with pytest.raises(StudyError, match="memory ends"):
            forward_paths.choose(model, random_samples(3), 64, on_gpu=True, in_fp8=True)
        return
    _, notes = forward_paths.choose(model, random_samples(3), 64, on_gpu=True, in_fp8=True)
    moved = float(re.fullmatch(r"frozen weights multiplied in fp8 \(e4m3\), which moves logits by (.*)%", notes[-1])[1])
    assert 0.5 < moved < 30


def adapted_recipe():
    from slingshot.config.recipe import Lora

    return Lora(r=4, alpha=8, dropout=0.0)
