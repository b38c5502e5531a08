"""The sizes of a network, read from its config under whichever names its family has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class NetworkSizes:
    layers: int
    hidden: int
    inner: int  # width of the feed-forward block, of all experts that a token meets
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int

    @property
    def cached_numbers(self) -> int:
        """Numbers that keys and values of one token take in all layers."""
        return 2 * self.layers * self.key_value_heads * self.head_size


def sizes_of(config: Any) -> NetworkSizes:
    """Read a config of transformers; what it leaves out has its family's usual value."""
    config = config.get_text_config()
    hidden = _first(config, "hidden_size", "n_embd", "d_model") or 0
    heads = _first(config, "num_attention_heads", "n_head", "num_heads") or 1
    key_value_heads = _first(config, "num_key_value_heads", "num_kv_heads", "n_head_kv")
    if getattr(config, "multi_query", False) and not getattr(config, "new_decoder_architecture", False):
        key_value_heads = 1  # Falcon
    inner = _first(config, "intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "inner_dim") or 4 * hidden
    experts = _first(config, "num_experts_per_tok", "moe_topk") or 1
    return NetworkSizes(
        layers=_first(config, "num_hidden_layers", "n_layer", "num_layers") or 1,
        hidden=hidden,
        inner=max(inner, experts * (_first(config, "moe_intermediate_size") or (inner if experts > 1 else 0))),
        heads=heads,
        key_value_heads=key_value_heads or heads,
        head_size=_first(config, "head_dim") or max(hidden // heads, 1),
        vocabulary=_first(config, "vocab_size") or 1,
    )


def _first(config: Any, *names: str) -> int | None:
    """The first of these that the config has a number for; some families list one number per layer: the largest."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, list | tuple) and value and all(isinstance(one, int) for one in value):
            value = max(value)
        if isinstance(value, int) and value:
            return value
    return None
