"""An exported folder as one GGUF file, for llama.cpp and Ollama.

Written by the gguf package for the families and tokenizers that this module knows; others go to llama.cpp's own
converter where that is installed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slingshot.core.errors import StudyError
from slingshot.core.files import read_json

CONVERTER = "convert_hf_to_gguf.py"

ARCHITECTURES = {
    "LlamaForCausalLM": "LLAMA",
    "MistralForCausalLM": "LLAMA",
    "Qwen2ForCausalLM": "QWEN2",
    "Qwen3ForCausalLM": "QWEN3",
}

# How a tokenizer cuts a text before it merges bytes, and llama.cpp's name for that.
CUTS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
}

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # gguf.TokenType


def write_gguf(folder: Path, target: Path) -> None:
    """Write the model in `folder` (config, safetensors, tokenizer) to `target`, unquantized.

    Raises:
        StudyError: neither this module nor an installed converter can write this model.
    """
    config = read_json(folder / "config.json")
    tokenizer = read_json(folder / "tokenizer.json")
    objection = objection_to(config, tokenizer)
    if objection is None:
        _write(folder, config, tokenizer, target)
        return
    converter = shutil.which(CONVERTER)
    if converter is None:
        raise StudyError(f"--gguf: {objection}; put llama.cpp's {CONVERTER} on the PATH, which may")
    subprocess.run([converter, str(folder), "--outfile", str(target)], check=True)


def objection_to(config: dict[str, Any], tokenizer: dict[str, Any]) -> str | None:
    """Why this module cannot write a model; None where it can."""
    name = next(iter(config.get("architectures") or ["a model without a name"]))
    if name not in ARCHITECTURES:
        return f"{name} is none of {', '.join(ARCHITECTURES)}"
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if (rope.get("rope_type") or rope.get("type") or "default") != "default":
        return f"{name} stretches its positions ({rope})"
    if tokenizer["model"].get("type") != "BPE" or tokenizer["model"].get("byte_fallback"):
        return "its tokenizer is not byte-level BPE"
    if cut_of(tokenizer) is None:
        return "its tokenizer cuts texts in a way that llama.cpp has no name for here"
    return None


def cut_of(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name (`tokenizer.ggml.pre`) for how a tokenizer.json cuts texts; None: not known here."""
    outer = tokenizer.get("pre_tokenizer") or {}
    parts = outer.get("pretokenizers", [outer])
    kinds = [part.get("type") for part in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and parts[1].get("use_regex", True):
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True):
        pattern = parts[0].get("pattern", {}).get("Regex")
        return next((name for name, known in CUTS.items() if known == pattern), None)
    return None


def _write(folder: Path, config: dict[str, Any], tokenizer: dict[str, Any], target: Path) -> None:
    import gguf

    name = config["architectures"][0]
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[name]]
    writer = gguf.GGUFWriter(target, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_name(folder.name)
    _add_shape(writer, config)
    _add_tokenizer(writer, folder, config, tokenizer)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for tensor, values in _tensors(folder, config):
        known = names.get_name(tensor, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise StudyError(f"--gguf: {tensor} of {name} has no place in a GGUF file")
        if values.ndim > 1 and values.dtype == np.uint16:
            writer.add_tensor(known, values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(known, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: Any, folder: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    texts = {number: text for text, number in tokenizer["model"]["vocab"].items()}
    kinds = dict.fromkeys(texts, NORMAL)
    for added in tokenizer.get("added_tokens", []):
        texts[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added["special"] else USER_DEFINED
    size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut_of(tokenizer))
    writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types([kinds.get(number, UNUSED) for number in range(size)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ends = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    writer.add_eos_token_id(ends[0] if isinstance(ends, list) else ends)
    if loaded.bos_token_id is not None:
        writer.add_bos_token_id(loaded.bos_token_id)
    writer.add_add_bos_token(loaded("a")["input_ids"][:1] == [loaded.bos_token_id])
    if loaded.chat_template:
        writer.add_chat_template(loaded.chat_template)


def _tensors(folder: Path, config: dict[str, Any]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Names and values as a GGUF file wants them: norms in float32, bfloat16 as its bits in uint16."""
    import torch
    from safetensors import safe_open

    heads, groups = config["num_attention_heads"], config.get("num_key_value_heads")
    pairs_apart = config["architectures"][0] in ("LlamaForCausalLM", "MistralForCausalLM")
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                values = file.get_tensor(name)
                if pairs_apart and name.endswith(("q_proj.weight", "q_proj.bias")):
                    values = pairs_together(values, heads)
                if pairs_apart and name.endswith(("k_proj.weight", "k_proj.bias")):
                    values = pairs_together(values, groups or heads)
                if values.ndim > 1 and values.dtype == torch.bfloat16:
                    yield name, values.contiguous().view(torch.uint16).numpy()
                else:
                    yield name, values.float().numpy() if values.ndim == 1 else values.contiguous().numpy()


def pairs_together(values: Any, heads: int) -> Any:
    """Rows (heads x width, ...) of queries or keys with the two of each rotary pair side by side, as llama.cpp has
    them; transformers has the first of all pairs in the first half of a head."""
    width = values.shape[0] // heads
    return values.reshape(heads, 2, width // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape).contiguous()
