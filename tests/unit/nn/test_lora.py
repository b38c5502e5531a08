"""Adapters are peft's to the last logit; dropout is exact and knows no neighbours."""

import json

import pytest
import torch
from peft import PeftModel

from slingshot.artifacts.model_card import Base
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.nn import lora
from slingshot.nn.adapter_files import add_low_rank, save_adapter
from tests.unit.tiny_models import adapted_model, tiny_model

ALL = Lora(r=4, alpha=8, dropout=0.1)


def trained(family, wanted=ALL):
    return adapted_model(family, wanted)


@pytest.mark.parametrize("family", ["llama", "phi3", "gemma3_text"])
@pytest.mark.parametrize(("targets", "layers"), [("all-linear", None), ("attention", None), ("all-linear", 1)])
def test_a_saved_adapter_is_pefts_to_the_same_logits(tmp_path, family, targets, layers):
    wanted = Lora(r=4, alpha=8, dropout=0.1, targets=targets, layers=layers)
    model = trained(family, wanted)
    save_adapter(tmp_path, lora.adapter_state(model), wanted, 4, 8, Base("tiny", None))
    theirs = PeftModel.from_pretrained(tiny_model(family), tmp_path).eval()
    ids = torch.randint(3, 97, (2, 12))
    torch.testing.assert_close(model(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(model(ids).logits, tiny_model(family)(ids).logits, atol=1e-3)


def test_merged_weights_give_the_adapters_logits():
    model, plain = trained("llama"), tiny_model("llama")
    for name, layer in lora.adapters(model):
        target = plain.get_submodule(name)
        add_low_rank(target.weight.data, layer.lora_A.data, layer.lora_B.data, 2.0)
    ids = torch.randint(3, 97, (2, 12))
    torch.testing.assert_close(model(ids).logits, plain(ids).logits, rtol=1e-4, atol=1e-4)


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_adapter(tmp_path / name, lora.adapter_state(trained("llama")), ALL, 4, 8, Base("tiny", None))
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert json.loads((tmp_path / "a" / "adapter_config.json").read_text())["target_modules"] == [
        *("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    ]


def test_a_state_goes_back_into_the_model_and_a_foreign_one_does_not():
    model, fresh = trained("llama"), tiny_model("llama")
    lora.add_adapters(fresh, ALL, 4, 8, seed=9)
    lora.load_adapter_state(fresh, lora.adapter_state(model))
    ids = torch.randint(3, 97, (1, 9))
    assert torch.equal(fresh(ids).logits, model(ids).logits)
    with pytest.raises(ValueError, match=r"other targets"):
        lora.load_adapter_state(fresh, {"x": torch.zeros(1)})


def test_a_target_that_no_layer_has_is_an_error():
    with pytest.raises(StudyError, match=r"c_attn is no linear layer.*q_proj"):
        lora.target_names(tiny_model("llama"), ["q_proj", "c_attn"])


def test_adapters_on_the_last_layers_end_the_backward_pass_there():
    model = trained("llama", Lora(r=4, alpha=8, dropout=0, layers=2))
    assert {name.split(".")[2] for name, _ in lora.adapters(model)} == {"1", "2"}
    reached = []
    for layer in model.model.layers:
        layer.register_forward_hook(lambda *given: reached.append(given[2].requires_grad))
    model(torch.randint(3, 97, (1, 9))).logits.sum().backward()
    assert reached == [False, True, True]
    assert all(layer.lora_A.grad.abs().sum() > 0 for _, layer in lora.adapters(model))


def test_more_layers_than_there_are_is_an_error():
    with pytest.raises(StudyError, match=r"finetune\.lora\.layers is 4, but the network has 3 layers"):
        lora.target_names(tiny_model("llama"), "all-linear", 4)


@pytest.mark.parametrize("probability", [0.1, 0.5])
def test_dropout_keeps_the_share_it_should_and_the_mean(probability):
    rows, columns = lora.column_keys("rows", 1500), lora.column_keys("columns", 1000)
    keep = lora.keep_mask(rows, columns, probability)
    count = keep.numel()
    deviation = (probability * (1 - probability) / count) ** 0.5
    assert abs(1 - keep.double().mean().item() - probability) < 5 * deviation
    # no row and no column is treated otherwise: chi-square of counts about its expectation
    for axis in (0, 1):
        dropped = (~keep).sum(axis).double()
        expected = probability * keep.shape[axis]
        spread = ((dropped - expected) ** 2).mean() / (expected * (1 - probability))
        assert 0.8 < spread < 1.2
    # neighbours are independent
    for one, two in ((keep[:-1], keep[1:]), (keep[:, :-1], keep[:, 1:])):
        together = (~one & ~two).double().mean().item()
        assert together == pytest.approx(probability**2, abs=6 * probability / count**0.5)
    ones = torch.ones(1500, 1000)
    assert lora.dropped_out(ones, rows, columns, probability).mean().item() == pytest.approx(1, abs=0.01)


def test_no_rows_no_dropout():
    shared = lora.Dropout(0.5)
    inputs = torch.ones(3, 4)
    assert shared(inputs, "q", lora.column_keys("q", 4)) is inputs
    shared.set_rows(lora.column_keys("r", 3))
    dropped = shared(inputs, "q", lora.column_keys("q", 4))
    assert set(dropped.unique().tolist()) <= {0.0, 2.0} and shared(inputs, "q", lora.column_keys("q", 4)) is dropped
