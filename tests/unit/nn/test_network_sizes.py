"""Sizes are found under the names that each family has for them."""

import pytest
from transformers import AutoConfig

from slingshot.nn.network_sizes import NetworkSizes, sizes_of


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("gpt2", NetworkSizes(12, 768, 3072, 12, 12, 64, 50257)),
        ("gptj", NetworkSizes(28, 4096, 16384, 16, 16, 256, 50400)),
        ("gpt_neox", NetworkSizes(44, 6144, 24576, 64, 64, 96, 50432)),  # Pythia
        ("opt", NetworkSizes(12, 768, 3072, 12, 12, 64, 50272)),
        ("bloom", NetworkSizes(2, 64, 256, 8, 8, 8, 250880)),
        ("falcon", NetworkSizes(32, 4544, 18176, 71, 1, 64, 65024)),
        ("llama", NetworkSizes(32, 4096, 11008, 32, 32, 128, 32000)),
    ],
)
def test_a_familys_sizes(family, expected):
    assert sizes_of(AutoConfig.for_model(family)) == expected


def test_experts_that_a_token_meets_count_together():
    config = AutoConfig.for_model("qwen3_moe", moe_intermediate_size=768, num_experts_per_tok=8, intermediate_size=6144)
    assert sizes_of(config).inner == 6144
    assert sizes_of(AutoConfig.for_model("mixtral", intermediate_size=100, num_experts_per_tok=2)).inner == 200
