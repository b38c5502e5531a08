"""Merged layers compute what the family's own do, hold no weight twice, and can be taken apart again."""

from functools import partial

import pytest
import torch

from slingshot.config.recipe import Lora
from slingshot.generation import decode
from slingshot.generation.engine import lay_out, make_engine, put_together, take_apart
from slingshot.nn import merged_layers
from slingshot.nn.fp8 import quantize_linears, unquantized_inputs
from tests.unit.tiny_models import adapted_model, tiny_model

LAYERS = ["full", "sliding", "full"]
FAMILIES = {
    "llama": {"sliding_window": 4},  # which a Llama does not have, whatever its config says
    "mistral": {"sliding_window": 6},
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "layer_types": [f"{kind}_attention" for kind in LAYERS]},
    "qwen3": {"head_dim": 16},
}
BIASED = {"attention_bias": True, "mlp_bias": True}
PROMPTS = [[3, 5, 8, 13, 21, 34, 55], [2, 7, 1, 8, 2, 8, 1, 8, 2, 8], [9, 9]]
FORCED = [[4, 6], [11, 7], [5, 5]]


def logits_of(model, row_tokens=12):
    """After each prompt and after each of two more tokens."""
    network = take_apart(model)
    try:
        engine = make_engine(network, 40, len(PROMPTS), 2, row_tokens, longest=12)
        return decode.logits_after(engine, lay_out(PROMPTS, 0, 2), FORCED)
    finally:
        put_together(network)


def own_logits(model):
    with torch.inference_mode():
        return torch.stack(
            [
                torch.stack([model(torch.tensor([[*prompt, *forced[:more]]])).logits[0, -1] for more in range(3)])
                for prompt, forced in zip(PROMPTS, FORCED, strict=True)
            ]
        )


def test_only_layers_in_e4m3_that_the_kernels_hold_quantize_between(monkeypatch):
    plain, in_e4m3 = tiny_model("llama"), tiny_model("llama")
    quantize_linears(in_e4m3, torch.device("cpu"))
    for model in (plain, in_e4m3):
        merged_layers.merge_layers(model)
    layers = in_e4m3.model.layers
    assert all(map(merged_layers._rows_fit_kernels, layers)) and len(layers) > 1
    assert not any(map(merged_layers._rows_fit_kernels, plain.model.layers))
    widest = max(layers[0].mlp.down_proj.in_features, layers[0].self_attn.q_proj.in_features)
    monkeypatch.setattr(merged_layers.fp8_kernels, "WIDEST", widest - 1)
    assert not any(map(merged_layers._rows_fit_kernels, layers))


@pytest.mark.parametrize("family", [*FAMILIES, "a llama with biases"])
def test_prefill_and_decoding_are_those_of_the_familys_own_layers(family):
    model = tiny_model(family, **FAMILIES[family]) if family in FAMILIES else tiny_model("llama", **BIASED)
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight)
    merged_layers.merge_layers(model)
    assert len(merged_layers._merged_layers(model)) == len(model.model.layers)
    merged_layers.split_layers(model)
    expected = own_logits(model)
    for row_tokens in (12, 4):  # the longest prompt in one row, and cut in three
        torch.testing.assert_close(logits_of(model, row_tokens), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own_logits(model), expected)


def test_the_modules_weights_become_rows_of_the_merged_ones():
    model = tiny_model("llama")
    own = {name: weight.clone() for name, weight in model.named_parameters()}
    merged_layers.merge_layers(model)
    for layer in model.model.layers:
        merged = layer.forward.args[1]
        for parts, whole in (
            ([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj], merged.qkv),
            ([layer.mlp.gate_proj, layer.mlp.up_proj], merged.gate_up),
        ):
            held = {part.weight.untyped_storage().data_ptr() for part in parts}
            assert held == {whole.weight.untyped_storage().data_ptr()}
    assert all(torch.equal(weight, own[name]) for name, weight in model.named_parameters())


def test_layers_in_e4m3_merge_to_the_same_products():
    model = tiny_model("llama", hidden_size=64, intermediate_size=96)
    quantize_linears(model, torch.device("cpu"))
    with unquantized_inputs():
        expected = own_logits(model)
        found = logits_of(model)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "made", [partial(adapted_model, "llama", Lora()), partial(tiny_model, "llama", hidden_act="gelu")]
)
def test_adapters_and_other_activations_stay_as_they_are(made):
    model = made()
    merged_layers.merge_layers(model)
    assert merged_layers._merged_layers(model) == []


def test_where_memory_ends_the_layers_run_as_they_are(monkeypatch):
    model = tiny_model("llama")
    expected = own_logits(model)
    merge, calls = merged_layers._merged, []

    def until_the_fourth(linears):
        calls.append(linears)
        if len(calls) == 4:
            raise torch.OutOfMemoryError
        return merge(linears)

    monkeypatch.setattr(merged_layers, "_merged", until_the_fourth)
    assert "out of memory" in merged_layers.merge_layers(model)[0]
    assert merged_layers._merged_layers(model) == []
    torch.testing.assert_close(own_logits(model), expected)


def test_a_release_whose_layers_look_otherwise_leaves_the_model_whole(monkeypatch):
    model = tiny_model("llama")
    expected = own_logits(model)
    monkeypatch.setattr(merged_layers, "_mergeable", lambda layer: layer.no_such_name)
    with pytest.raises(AttributeError):
        take_apart(model)
    torch.testing.assert_close(own_logits(model), expected)


def test_a_family_with_other_layers_stays_as_it_is():
    model = tiny_model("gemma2")
    merged_layers.merge_layers(model)
    assert merged_layers._merged_layers(model) == []
