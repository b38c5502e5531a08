"""Linear layers in e4m3: what they multiply, what they leave alone, and that answers go the packed way."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from slingshot.config.models import Model
from slingshot.generation.generate import generate
from slingshot.generation.types import Decoding, GenerationStats, Memory
from slingshot.nn import fp8_kernels
from slingshot.nn.fp8 import Fp8Linear, quantize_linears, quantize_rows
from tests.unit.tiny_models import tiny_model

CPU = torch.device("cpu")


def test_a_row_keeps_its_largest_number_and_every_other_to_a_sixteenth():
    rows = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 6, 64)[:, None]
    quantized, scale = quantize_rows(rows)
    assert quantized.dtype == torch.float8_e4m3fn and scale.shape == (64, 1)
    back = quantized.float() * scale
    largest = rows.abs().amax(-1, keepdim=True)
    assert torch.allclose(back.abs().amax(-1, keepdim=True), largest, rtol=1e-6)
    normal = rows.abs() > largest / 448 * 2**-6  # smaller numbers are subnormal in e4m3
    assert float(((back - rows).abs() / rows.abs())[normal].max()) <= 2**-4


def test_a_row_of_zeros_stays_zero():
    quantized, scale = quantize_rows(torch.zeros(2, 16))
    assert not (quantized.float() * scale).any() and torch.isfinite(scale).all()


@pytest.mark.parametrize("bias", [False, True])
def test_a_product_is_within_four_percent_of_the_plain_one(bias):
    torch.manual_seed(0)
    linear = nn.Linear(256, 64, bias=bias)
    hidden = torch.randn(2, 9, 256)
    wanted, found = linear(hidden), Fp8Linear.of(linear, CPU)(hidden)
    assert found.shape == wanted.shape
    assert float((found - wanted).norm() / wanted.norm()) < 0.04


def test_an_input_that_is_already_quantized_gives_the_same_product():
    torch.manual_seed(0)
    layer = Fp8Linear.of(nn.Linear(64, 32), CPU)
    hidden = torch.randn(1, 5, 64)
    quantized, scale = quantize_rows(hidden[0])
    given = quantized[None]
    given.row_scale = scale
    assert torch.equal(layer(given), layer(hidden))


def test_the_head_and_the_embedding_keep_their_type_and_the_answers_go_the_packed_way():
    model = tiny_model("llama")
    plain = copy.deepcopy(model)
    quantize_linears(model, CPU)
    kinds = {name: type(module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Fp8Linear)}
    assert kinds.pop("lm_head") is nn.Linear
    assert kinds and set(kinds.values()) == {Fp8Linear}
    prompts = [[3, 5, 8, 13, 21], [2, 7, 1, 8, 2, 8, 1]]
    stats = GenerationStats()
    answers = {}
    for group in generate(model, prompts, Decoding(4, (0,)), Memory(), stats):
        answers |= group
    assert sorted(answers) == [0, 1] and not stats.notes
    ids = torch.tensor([prompts[0]])
    difference = (model(ids).logits - plain(ids).logits).norm() / plain(ids).logits.norm()
    assert 0 < float(difference) < 0.2


def test_fp8_is_a_quantization_that_a_model_may_have():
    model = Model.model_validate({"source": {"hub": "a/b"}, "size": "8B", "quantization": "fp8"})
    assert model.quantization == "fp8"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: Triton's interpreter rounds e4m3 wrongly")
def test_the_kernels_leave_what_norm_and_activation_make_within_two_roundings():
    draw = torch.Generator("cuda").manual_seed(0)
    gate_up, rows, weight = (
        torch.randn(shape, generator=draw, device="cuda", dtype=torch.bfloat16)
        for shape in ((5, 2 * 96), (5, 64), (64,))
    )
    gate, up = gate_up.chunk(2, -1)
    for (quantized, scale), plain in (
        (fp8_kernels.activate_and_quantize(gate_up), F.silu(gate) * up),
        (fp8_kernels.norm_and_quantize(rows, weight, 1e-5), F.rms_norm(rows, (64,), weight, 1e-5)),
    ):
        torch.testing.assert_close(quantized.float() * scale, plain.float(), atol=2e-2, rtol=2**-3)
