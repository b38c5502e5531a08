"""What is peculiar to a family is kept in training: its recomputation, its dropout, its routers, its other senses."""

import pytest
import torch
from benchmarks import families
from transformers import AutoConfig, AutoModelForCausalLM

from slingshot.config.recipe import Lora
from slingshot.models.greedy import generate_greedily
from slingshot.nn import lora
from slingshot.nn.packed_attention import attending_by
from slingshot.training import forward_paths
from slingshot.training.batches import Sample, pack
from slingshot.training.loss import token_losses
from tests.unit.training_inputs import random_samples


def adapted(family, **changed):
    model = families.tiny_model(family, **changed)
    shared = lora.add_adapters(model, Lora(r=4, alpha=8, dropout=0.4), 4, 8, seed=3)
    torch.manual_seed(0)
    for _, layer in lora.adapters(model):
        layer.lora_B.data.normal_(0, 0.1)
    return model, shared


def gradient(model, shared, logits, samples):
    model.zero_grad()
    packed = pack(samples, seed=1, epoch=0)
    shared.set_rows(packed.row_keys)
    token_losses(logits(packed), packed.targets).sum().backward()
    return torch.cat([layer.lora_A.grad.flatten() for _, layer in lora.adapters(model)])


@pytest.mark.parametrize("family", ["gemma2", "stablelm", "bloom", "qwen3_next"])
@pytest.mark.parametrize("equal", [True, False])
def test_recomputing_one_sequence_at_a_time_keeps_each_sequences_dropout(family, equal):
    """The backward pass of the first sequence met the masks of the last: a crash, or at equal lengths a gradient that
    was 54% off."""
    samples = random_samples(3)
    if equal:
        samples = [Sample(f"{index}", tuple(range(5 + index, 25 + index)), (7, 8), False) for index in range(3)]
    model, shared = adapted(family)
    path, _ = forward_paths.choose(model, samples, 64, on_gpu=False)
    kept = gradient(model, shared, path.logits, samples)
    path.recompute(1.0)
    again = gradient(model, shared, path.logits, samples)
    torch.testing.assert_close(again, kept, rtol=1e-4, atol=1e-5 * float(kept.abs().max()))


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss", "llama"])
def test_validation_answers_come_by_the_models_own_attention(family):
    """Exact match switched to an implementation that Gemma 2 and gpt-oss do not support."""
    prompts = [list(range(5, 20)), list(range(30, 40))]
    own = families.one_at_a_time(families.tiny_model(family), prompts, 4)
    model = families.tiny_model(family)
    lora.add_adapters(model, Lora(r=4, alpha=8, dropout=0.4), 4, 8, seed=3)
    path, _ = forward_paths.choose(model, random_samples(3), 64, on_gpu=False)
    with attending_by(model, path.own_attention):
        rows = generate_greedily(model, prompts, 4, [families.END]).tolist()
    assert [row[: len(ids)] for row, ids in zip(rows, own, strict=True)] == own


@pytest.mark.parametrize("family", ["opt", "seed_oss", "gpt_neox"])
def test_a_networks_own_dropout_never_acts_and_the_record_says_so(family):
    samples = random_samples(3)
    more = {"attention_dropout": 0.3} if family == "gpt_neox" else {}
    model, shared = adapted(family, **more)
    path, notes = forward_paths.choose(model, samples, 64, on_gpu=False)
    assert any("without the model's own dropout" in note for note in notes)
    shared.set_rows(None)
    packed = pack(samples, seed=1, epoch=0)
    torch.manual_seed(1)
    first = path.logits(packed)
    torch.manual_seed(2)
    assert path.logits(packed).equal(first)
    assert gradient(model, shared, path.logits, samples).equal(gradient(model, shared, path.logits, samples))


def test_a_router_that_inherits_from_a_linear_layer_is_left_alone():
    model = families.tiny_model("llama4_text")
    names = lora.target_names(model, "all-linear")
    routers = [name for name, module in model.named_modules() if type(module).__name__ == "Llama4Router"]
    assert routers and not set(routers) & set(names)
    assert any("dense" in name for name in lora.target_names(families.tiny_model("falcon"), "all-linear"))


def test_what_multiplies_by_a_weight_itself_meets_the_adapter():
    model, _ = adapted("llama")
    layer = next(layer for _, layer in lora.adapters(model))
    inputs = torch.randn(3, layer.in_features)
    torch.testing.assert_close(layer(inputs), inputs @ layer.weight.T, rtol=1e-4, atol=1e-5)


def test_a_vision_tower_has_no_adapters():
    text = {**families.SHAPE, "head_dim": 8, "model_type": "gemma3_text"}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14, "model_type": "siglip_vision_model"}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=vision, mm_tokens_per_image=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    names = lora.target_names(model, "all-linear")
    assert len(names) == 7 * families.SHAPE["num_hidden_layers"]
    assert not [name for name in names if "vision" in name or "projector" in name]
    shared = lora.add_adapters(model, Lora(r=2, alpha=4, dropout=0), 2, 4, seed=3)
    samples = random_samples(3)
    path, _ = forward_paths.choose(model, samples, 64, on_gpu=False)
    gradient(model, shared, path.logits, samples)
    assert all(layer.lora_B.grad.abs().sum() > 0 for _, layer in lora.adapters(model))


def test_the_share_of_the_weights_that_adapters_reach_is_said():
    dense, _ = adapted("llama")
    assert lora.adapted_share(dense) == 1 and lora.unreached(dense) == []
    experts, _ = adapted("granitemoe")
    assert 0.1 < lora.adapted_share(experts) < 0.2
    assert "experts" in lora.unreached(experts)[0]


def test_a_way_that_computes_something_else_is_not_taken(monkeypatch):
    """A neighbour that leaks into the second sequence, as short convolutions do."""
    leaky = forward_paths.packed_logits

    def leaks(model, packed):
        logits = leaky(model, packed).clone()
        logits[packed.owner == 1] *= 1.03
        return logits

    monkeypatch.setattr(forward_paths, "packed_logits", leaks)
    model, _ = adapted("llama")
    _, notes = forward_paths.choose(model, random_samples(3), 64, on_gpu=False)
    assert notes and "differ by 3" in notes[0] and model.config._attn_implementation == "sdpa"
