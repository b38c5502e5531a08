"""Whether a folder holds a whole model that transformers reads as it was stored, by its files alone, without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from slingshot.artifacts.layout import ADAPTER_SETTINGS
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json

MOST_HEADER = 100_000_000  # bytes, as the safetensors library allows

LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class FolderFacts:
    """What a model's folder holds: the files that its weights are read from, and what they make."""

    weights: list[Path]
    parameters: int
    layers: int
    architecture: str


def check_folder(folder: Path) -> FolderFacts:
    """Look a model's folder over before anything is loaded from it.

    Raises:
        StudyError: it is an adapter, holds one beside the model, is damaged, quantized, in parts that lack a part, has
            no tokenizer, or needs code of its own.
    """
    config = read_config(folder)
    refuse_adapter_beside_model(folder)
    architecture = _architecture(folder, config)
    refuse_custom_code(folder, config, architecture)
    refuse_quantized(folder, config)
    weights = weight_files(folder)
    tensors: dict[str, dict[str, Any]] = {}
    for path in weights:
        tensors |= read_header(path)
    _refuse_packed_numbers(folder, tensors)
    _check_tokenizer(folder, _text_config(config))
    return FolderFacts(weights, _parameters(tensors, config), _layers(folder, config), architecture)


def read_config(folder: Path) -> dict[str, Any]:
    """A model's config.json.

    Raises:
        StudyError: it is missing or no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        if (folder / ADAPTER_SETTINGS).exists():
            raise StudyError(f"{folder} is an adapter, not a model: name the folder of its base model")
        raise StudyError(f"{path} is missing: a model's folder holds what `save_pretrained` writes")
    config = read_json(path)
    if not isinstance(config, dict):
        raise StudyError(f"{path} must hold keys and values, not a {type(config).__name__}: fetch the model again")
    return config


def refuse_adapter_beside_model(folder: Path) -> None:
    """transformers would silently put it on the model, so that an untrained arm would answer with an adapter."""
    if (folder / ADAPTER_SETTINGS).exists():
        raise StudyError(
            f"{folder} holds an adapter (adapter_config.json) beside the model, and it is not clear which is meant: "
            "move it to a folder of its own"
        )


def refuse_custom_code(folder: Path, config: dict[str, Any], architecture: str) -> None:
    """A model that brings Python of its own is read only where transformers has the same network itself."""
    settings = folder / "tokenizer_config.json"
    tokenizer = read_json(settings) if settings.is_file() else {}
    asks = "auto_map" in config or (isinstance(tokenizer, dict) and "auto_map" in tokenizer)
    if asks and not _is_native(config.get("model_type"), architecture):
        raise StudyError(
            f"{folder} wants to run code of its own (auto_map, {architecture}), which is never done: choose a model "
            "that transformers knows by itself"
        )


def _is_native(model_type: Any, architecture: str) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(model_type)) == architecture


def refuse_quantized(folder: Path, config: dict[str, Any]) -> None:
    """Weights that were stored quantized lose their scales where a study asks for another type."""
    stored = config.get("quantization_config") or _text_config(config).get("quantization_config")
    if stored:
        method = stored.get("quant_method", "unnamed method") if isinstance(stored, dict) else "unnamed method"
        raise StudyError(
            f"{folder} is stored quantized ({method}): name the unquantized model, and let `quantization: nf4` or "
            "int8 quantize it"
        )


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads the weights from: one, or else those that the index names.

    Raises:
        StudyError: there is neither, or a part is missing.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return [whole]
    if not index.exists():
        others = sorted(path.name for path in folder.glob("*.safetensors"))
        found = f"only {', '.join(others[:3])}" if others else "other formats are not read"
        raise StudyError(f"{folder} holds no .safetensors file of a model (model.safetensors or its index): {found}")
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise StudyError(f"{index} names no files of weights: fetch the model again")
    parts = [folder / name for name in sorted(set(names.values()))]
    if any(part.parent != folder for part in parts):
        raise StudyError(f"{index} names files outside of its folder: fetch the model again")
    gone = [part.name for part in parts if not part.exists()]
    if gone:
        raise StudyError(f"{folder} lacks {', '.join(gone[:3])}, which its index names: fetch the model again")
    return parts


def read_header(path: Path, again: str = "fetch the model again") -> dict[str, dict[str, Any]]:
    """Name to type, shape and place of each tensor of a safetensors file; their bytes must all be there.

    Args:
        again: what to do where they aren't.

    Raises:
        StudyError: the file is empty, cut, a pointer of Git LFS, or no safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as content:
        start = content.read(8)
        if start == LFS_POINTER[:8]:
            raise StudyError(f"{path} is a pointer of Git LFS, not the weights: run `git lfs pull` in its folder")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MOST_HEADER, size - 8):
            raise StudyError(f"{path} is cut or no safetensors file ({size:,} bytes): {again}")
        try:
            header = json.loads(content.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            sound = all(isinstance(entry["dtype"], str) and prod(entry["shape"]) >= 0 for entry in tensors.values())
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError):
            sound = False
    if not sound:
        raise StudyError(f"{path} has a damaged header: {again}")
    if not tensors:
        raise StudyError(f"{path} holds no tensors: {again}")
    if 8 + length + end != size:
        raise StudyError(f"{path} has {size:,} bytes where its header tells of {8 + length + end:,}: {again}")
    return tensors


def _refuse_packed_numbers(folder: Path, tensors: dict[str, dict[str, Any]]) -> None:
    for name, entry in tensors.items():
        if entry["dtype"] not in ("F64", "F32", "F16", "BF16") and name.endswith((".weight", "qweight", "_scale")):
            raise StudyError(
                f"{folder} is stored quantized ({name} as {entry['dtype']}): name the unquantized model, and let "
                "`quantization: nf4` or int8 quantize it"
            )


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _architecture(folder: Path, config: dict[str, Any]) -> str:
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not isinstance(named[0], str):
        raise StudyError(f"{folder / 'config.json'} names no architecture: save the model with `save_pretrained`")
    return named[0]


def _layers(folder: Path, config: dict[str, Any]) -> int:
    text = _text_config(config)
    found = next((text[name] for name in LAYER_COUNTS if isinstance(text.get(name), int) and text[name] > 0), None)
    if found is None:
        raise StudyError(f"{folder / 'config.json'} has no number of layers ({', '.join(LAYER_COUNTS)})")
    return int(found)


def _parameters(tensors: dict[str, dict[str, Any]], config: dict[str, Any]) -> int:
    """Parameters of the network; an output layer that is tied to the embeddings and stored all the same counts once."""
    total = sum(prod(entry["shape"]) for entry in tensors.values())
    tied = config.get("tie_word_embeddings", _text_config(config).get("tie_word_embeddings"))
    head = tensors.get("lm_head.weight")
    if tied and head and any(name.endswith("embed_tokens.weight") for name in tensors):
        total -= prod(head["shape"])
    return total


def _check_tokenizer(folder: Path, config: dict[str, Any]) -> None:
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise StudyError(f"{folder} holds no tokenizer ({', '.join(TOKENIZERS[:3])}): copy it from the model's source")
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    content = read_json(path)
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise StudyError(f"{path} is no tokenizer: copy it from the model's source")
    vocabulary = model.get("vocab") or []
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else [len(vocabulary) - 1]
    ids += [token["id"] for token in content.get("added_tokens") or []]
    rows = config.get("vocab_size")
    if isinstance(rows, int) and max(ids, default=-1) >= rows:
        raise StudyError(
            f"{folder}: the tokenizer has tokens up to number {max(ids)}, and the network {rows} embeddings "
            "(vocab_size): they don't belong together"
        )
