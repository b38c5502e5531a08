"""Adapters on experts that lie in one tensor are peft's to the last logit, trained, saved, merged and loaded again."""

import pytest
import torch
from peft import PeftModel

from slingshot.artifacts.model_card import Base
from slingshot.config.recipe import Lora
from slingshot.core.errors import StudyError
from slingshot.nn import expert_lora, lora
from slingshot.nn.adapter_files import merge_adapter, save_adapter
from tests.unit.tiny_models import adapted_model, tiny_model

WITH_EXPERTS = Lora(r=4, alpha=8, dropout=0.1, experts=True)
FAMILIES = ["mixtral", "qwen3_moe", "gpt_oss"]  # the last keeps (experts, in, out)


def trained(family, wanted=WITH_EXPERTS):
    return adapted_model(family, wanted)


def saved(model, folder, wanted=WITH_EXPERTS):
    experts = list(expert_lora.adapted_experts(model))
    save_adapter(folder, lora.adapter_state(model), wanted, 4, 8, Base("tiny", None), experts=experts)
    return folder


IDS = torch.randint(3, 97, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [None, 1])
def test_a_saved_adapter_is_pefts_to_the_same_logits(tmp_path, family, layers):
    wanted = WITH_EXPERTS.model_copy(update={"layers": layers})
    model = trained(family, wanted)
    theirs = PeftModel.from_pretrained(tiny_model(family), saved(model, tmp_path, wanted)).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, theirs(IDS).logits, rtol=1e-4, atol=1e-5)
        linear_alone = trained(family, wanted.model_copy(update={"experts": False}))
        assert not torch.allclose(model(IDS).logits, linear_alone(IDS).logits, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_equals_applied(tmp_path, family):
    model, plain = trained(family), tiny_model(family)
    merge_adapter(plain, saved(model, tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, plain(IDS).logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", [*FAMILIES, "deepseek_v3", "llama"])
def test_an_adapter_from_files_is_applied_as_it_was_trained(tmp_path, family):
    """peft reads gate_proj of deepseek_v3's shared experts as the others' and ends, or answers otherwise."""
    wanted = WITH_EXPERTS.model_copy(update={"experts": family != "llama"})
    model, plain = trained(family, wanted), tiny_model(family)
    lora.attach_adapter(plain, saved(model, tmp_path, wanted))
    with torch.no_grad():
        assert torch.equal(model(IDS).logits, plain(IDS).logits)


def test_an_adapter_of_another_network_is_one_sentence(tmp_path):
    folder = saved(trained("mixtral"), tmp_path)
    with pytest.raises(StudyError, match="an adapter of another model"):
        lora.attach_adapter(tiny_model("llama"), folder)


def test_every_expert_that_a_token_meets_gets_a_gradient_and_its_weight_none():
    model = trained("mixtral")
    model(IDS).logits.sum().backward()
    for adapter in expert_lora.adapted_experts(model).values():
        per_expert = adapter.lora_A.grad.unflatten(0, (adapter.experts, -1)).abs().sum((1, 2))
        assert int((per_expert > 0).sum()) >= 2
    assert all(weight.grad is None for name, weight in model.named_parameters() if "lora_" not in name)


def test_the_share_that_adapters_reach_counts_experts_and_the_note_goes():
    with_experts, without = trained("mixtral"), trained("mixtral", Lora(r=4, alpha=8))
    assert lora.adapted_share(without) < 0.5 and "finetune.lora.experts" in lora.unreached(without)[0]
    assert lora.adapted_share(with_experts) > 0.9 and lora.unreached(with_experts) == []
    upper = trained("mixtral", Lora(r=4, alpha=8, experts=True, layers=1))
    assert lora.unreached(upper) == [f"adapters are on {lora.adapted_share(upper):.0%} of the layers' weights"]


def test_a_dense_network_has_no_experts_to_adapt():
    with pytest.raises(StudyError, match="no experts that lie in one tensor"):
        lora.add_adapters(tiny_model("llama"), WITH_EXPERTS, 4, 8, seed=3)
