"""The three ways through a model give one loss and one gradient; no token sees another sample."""

from dataclasses import replace

import pytest
import torch

from slingshot.config.recipe import Lora
from slingshot.nn import flash_kernels, lora
from slingshot.nn import packed_attention as attention
from slingshot.nn.class_head import replace_head
from slingshot.training import batches as packing
from slingshot.training import forward_paths, fused_layers
from slingshot.training.loss import completion_tokens, faulty_samples, token_losses
from tests.unit.tiny_models import FAMILIES, tiny_model
from tests.unit.training_inputs import random_samples

MERGED = ["llama", "mistral", "qwen2", "qwen3", "phi3"]
PACKED = [*MERGED, "gemma", "gemma3_text"]
# Double precision throughout, but transformers takes RMS norm and rotary angles in float32.
TOLERANCE = 1e-5


def adapted(family, targets="all-linear", dropout=0.3, layers=None):
    model = tiny_model(family).double()
    wanted = Lora(r=4, alpha=8, dropout=dropout, targets=targets, layers=layers)
    shared = lora.add_adapters(model, wanted, 4, 8, seed=3)
    torch.manual_seed(0)
    for _, layer in lora.adapters(model):
        layer.lora_B.data.normal_(0, 0.1)
    return model.double().train(), shared


def loss_and_gradients(model, shared, logits, batches):
    """The batch's mean loss, cut into these micro-batches, and its gradients."""
    model.zero_grad()
    count = completion_tokens([sample for batch in batches for sample in batch])
    total = 0.0
    for batch in batches:
        packed = packing.pack(batch, seed=1, epoch=0)
        shared.set_rows(packed.row_keys)
        loss = token_losses(logits(packed), packed.targets).sum() / count
        loss.backward()
        total += loss.item()
    return total, [weight.grad.clone() for weight in model.parameters() if weight.requires_grad]


def assert_same(one, two):
    assert one[0] == pytest.approx(two[0], rel=TOLERANCE)
    for left, right in zip(one[1], two[1], strict=True):
        torch.testing.assert_close(left, right, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("family", PACKED)
def test_packed_and_unpacked_give_one_loss_and_one_gradient(family):
    model, shared = adapted(family)
    samples = random_samples(5)
    model.set_attn_implementation("eager")
    apart = loss_and_gradients(
        model, shared, lambda packed: forward_paths.one_by_one_logits(model, packed), [[one] for one in samples]
    )
    attention.use_packed_attention(model)
    packed = loss_and_gradients(model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples])
    halves = loss_and_gradients(
        model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples[:2], samples[2:]]
    )
    assert_same(apart, packed)
    assert_same(apart, halves)


@pytest.mark.parametrize("family", MERGED)
@pytest.mark.parametrize(("targets", "layers"), [("all-linear", None), (["o_proj"], None), ("all-linear", 2)])
def test_merged_layers_give_the_same(family, targets, layers):
    model, shared = adapted(family, targets, layers=layers)
    samples = random_samples(4)
    attention.use_packed_attention(model)
    plain = loss_and_gradients(model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples])
    path = fused_layers.fuse(model, longest=64, compiled=False)
    assert_same(plain, loss_and_gradients(model, shared, path.logits, [samples]))
    # transformers' modules still work on the merged weights, and new adapters arrive with refresh
    for _, layer in lora.adapters(model):
        layer.lora_B.data.mul_(2)
    path.refresh()
    again = loss_and_gradients(model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples])
    assert again[0] != pytest.approx(plain[0], rel=1e-3)
    assert_same(again, loss_and_gradients(model, shared, path.logits, [samples]))


def test_merged_layers_take_a_head_over_labels():
    model, shared = adapted("llama")
    head = replace_head(model, labels := 5, seed=1)
    samples = [replace(one, completion=(at % labels,)) for at, one in enumerate(random_samples(4))]
    attention.use_packed_attention(model)
    plain = loss_and_gradients(model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples])
    assert fused_layers.unsupported(model) is None
    path = fused_layers.fuse(model, longest=64, compiled=False)
    assert_same(plain, loss_and_gradients(model, shared, path.logits, [samples]))
    assert head.weight.grad.any()


def test_recomputed_layers_give_the_same():
    model, shared = adapted("llama")
    path, _ = forward_paths.choose(model, random_samples(3), 64, on_gpu=False)
    samples = random_samples(3)
    kept = loss_and_gradients(model, shared, path.logits, [samples])
    path.recompute(0.7)
    assert_same(kept, loss_and_gradients(model, shared, path.logits, [samples]))


@pytest.mark.parametrize("merged", [False, True])
def test_a_neighbours_token_does_not_leak(merged):
    model, shared = adapted("llama", dropout=0)
    attention.use_packed_attention(model)
    logits = (
        fused_layers.fuse(model, 64, compiled=False).logits
        if merged
        else lambda packed: forward_paths.packed_logits(model, packed)
    )
    one, two, other = random_samples(3)
    shared.set_rows(None)

    def of_last(first):
        packed = packing.pack([first, two], seed=0, epoch=0)
        return logits(packed)[packed.owner == 1]

    changed = packing.Sample(one.sample_id, (5, *one.prompt[1:]), one.completion, False)
    torch.testing.assert_close(of_last(one), of_last(changed), rtol=0, atol=0)
    torch.testing.assert_close(of_last(one), of_last(other), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_says_which_way_it_takes(family):
    model, shared = adapted(family)
    path, notes = forward_paths.choose(model, random_samples(3), 64, on_gpu=False)
    loss, gradients = loss_and_gradients(model, shared, path.logits, [random_samples(3)])
    assert loss > 0 and all(torch.isfinite(one).all() for one in gradients)
    assert any(one.abs().sum() > 0 for one in gradients)
    assert bool(notes) == (family == "gemma2")  # it caps its scores
    assert (fused_layers.unsupported(model) is None) == (family in MERGED)


def test_a_windows_bound_is_kept():
    torch.manual_seed(0)
    query, key, value = (torch.randn(12, 2, 4, dtype=torch.float64) for _ in range(3))
    ends = torch.tensor([0, 12], dtype=torch.int32)
    windowed = attention.packed_attention(query, key, value, ends, 12, 0.5, window=3)
    alone = attention.packed_attention(query[7:10], key[7:10], value[7:10], torch.tensor([0, 3]), 3, 0.5)
    torch.testing.assert_close(windowed[9], alone[2])


def test_samples_with_a_loss_that_is_no_number_are_named():
    losses = torch.tensor([1.0, float("nan"), 2.0, float("inf")])
    assert faulty_samples(losses, torch.tensor([0, 1, 1, 2]), ["a", "b", "c"]) == ["b", "c"]


def test_merged_layers_take_4_bit_weights():
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model = tiny_model("llama", hidden_size=64, intermediate_size=128).to(torch.bfloat16)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            small = bitsandbytes.nn.Linear4bit(
                module.in_features, module.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
            )
            small.weight = bitsandbytes.nn.Params4bit(
                module.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=False
            ).to("cpu")
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, small)
    shared = lora.add_adapters(model, Lora(r=4, alpha=8, dropout=0.3), 4, 8, seed=3)
    torch.manual_seed(0)
    for _, layer in lora.adapters(model):
        layer.lora_B.data.normal_(0, 0.1)
    model.train()
    samples = random_samples(4)
    assert fused_layers.unsupported(model) is None
    path = fused_layers.fuse(model, 64, compiled=False)
    merged = loss_and_gradients(model, shared, path.logits, [samples])
    attention.use_packed_attention(model)
    plain = loss_and_gradients(model, shared, lambda packed: forward_paths.packed_logits(model, packed), [samples])
    assert merged[0] == pytest.approx(plain[0], rel=0.02)  # bfloat16
    for one, two in zip(plain[1], merged[1], strict=True):
        assert torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0) > 0.99


@pytest.mark.parametrize("recent", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_is_compiled_on_gpus_that_have_its_kernels(monkeypatch, dtype, recent):
    monkeypatch.setattr(fused_layers, "has_kernels", lambda device: recent)
    reason = fused_layers.uncompilable(tiny_model("llama").to(dtype))
    assert (reason is None) == (recent and dtype == torch.bfloat16 and flash_kernels.varlen_attn is not None)


def test_layers_with_and_without_a_window_are_not_merged():
    model = tiny_model("qwen2")
    assert fused_layers.unsupported(model) is None
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert "window" in fused_layers.unsupported(model)


def test_positions_that_depend_on_the_batch_are_not_packed():
    model = tiny_model("llama")
    model.config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0}
    assert attention.unsupported(model, model.config.max_position_embeddings) is None
    assert "positions" in attention.unsupported(model, model.config.max_position_embeddings + 1)
