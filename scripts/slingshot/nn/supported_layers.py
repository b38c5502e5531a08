"""Which models our attention can replace: those whose layers all attend to every earlier token or to a window of them,
and pass nothing to their attention that ours does not know."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from slingshot.core.errors import StudyError

# Layer types of transformers' configs that our attention computes.
_ATTENDING = {"full_attention", "sliding_attention", "attention"}

# Where configs name the kinds of their layers.
_LAYER_TYPES = ("layer_types", "layers_block_type", "block_types", "layers_types")

# Arguments of transformers' attention functions that change nothing here: bounds and positions are known anyway, and
# the rest concerns what a forward pass returns.
_HARMLESS = {
    "position_ids",
    "cache_position",
    "use_cache",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
    "seq_idx",
    "num_items_in_batch",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "return_dict",
}


class AttentionArgumentsError(StudyError):
    """A model passes its attention something that ours would have to ignore, or not what ours needs."""


def unsupported_layers(model: PreTrainedModel, longest: int) -> str | None:
    """Why our attention cannot replace this model's for sequences of up to `longest` tokens; None: it can."""
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return "its attention cannot be replaced"
    foreign = sorted(layer_types(config) - _ATTENDING)
    if foreign:
        return f"it has layers of the type {', '.join(foreign)}"
    if any(isinstance(module, nn.Conv1d) for module in model.modules()):
        return "its layers convolve over the tokens"
    if getattr(config, "attention_chunk_size", None):
        return "it attends in chunks"
    if rotary_meets_batch(config) and longest > rotary_length(config):
        return "its rotary positions depend on the longest sequence of a batch"
    return None


def refuse_unknown_arguments(mask: Tensor | None, given: dict[str, Any]) -> None:
    """Raise where a model passes its attention a mask, dropout or any argument that ours does not compute.

    Args:
        mask: the attention mask; transformers makes none for an attention function that it does not know itself.
        given: the keyword arguments that the attention function has no name for.

    Raises:
        AttentionArgumentsError: what would have been ignored.
    """
    unknown = [name for name, value in given.items() if name not in _HARMLESS and not _says_nothing(name, value)]
    if mask is not None:
        unknown.append("attention_mask")
    if unknown:
        raise AttentionArgumentsError(f"its attention takes {', '.join(sorted(unknown))}, which ours does not compute")


def unpack_states(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    mask: Tensor | None,
    given: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor, float]:
    """What transformers hands an attention function, as ours take it.

    Args:
        query, key, value: (1, heads, tokens, head size).
        scaling: what scores are multiplied with; None: 1 / sqrt(head size).
        mask, given: as for `refuse_unknown_arguments`, which this calls.

    Returns: query, key and value of (tokens, heads, head size), and the scale.
    """
    refuse_unknown_arguments(mask, given)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1), scale


def _says_nothing(name: str, value: Any) -> bool:
    if value is None:
        return True
    if name == "is_causal":
        return value is True
    return name == "dropout" and value == 0


def layer_types(config: Any) -> set[str]:
    """The kinds of layers that a config names; empty where it names none."""
    found: set[str] = set()
    for name in _LAYER_TYPES:
        found.update(str(one) for one in getattr(config, name, None) or [])
    return found


def mixes_windows(config: Any) -> bool:
    """Whether only some of the layers have the model's sliding window."""
    return len(layer_types(config)) > 1


def window_of(config: Any, longest: int) -> int | None:
    """The model's sliding window where it is shorter than `longest` tokens, else None."""
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < longest:
        return int(window)
    return None


def rotary_meets_batch(config: Any) -> bool:
    """Whether the rotary embedding is chosen by the longest sequence of a batch, once one exceeds `rotary_length`."""
    return any(rope.get("rope_type") in ("dynamic", "longrope") for rope in _rotary_settings(config))


def rotary_length(config: Any) -> int:
    """The length in tokens up to which rotary embeddings are those that the model was first trained with."""
    native = [rope.get("original_max_position_embeddings") for rope in _rotary_settings(config)]
    native.append(getattr(config, "original_max_position_embeddings", None))
    return int(next((length for length in native if length), None) or config.max_position_embeddings)


def _rotary_settings(config: Any) -> list[dict[str, Any]]:
    """A config's rotary settings: one for the whole network, or one for each type of layer."""
    rope = getattr(config, "rope_parameters", None) or {}
    nested = [one for one in rope.values() if isinstance(one, dict)]
    return nested or [rope]
