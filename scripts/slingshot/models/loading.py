"""Loading a fetched model: its card, its tokenizer, its weights, an adapter on top."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.layout import ADAPTER_WEIGHTS
from slingshot.artifacts.model_card import ModelCard
from slingshot.config.base import Dtype, Quantization
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.models.folder_checks import read_config, read_header, refuse_adapter_beside_model, refuse_quantized
from slingshot.models.number_types import multiplies, number_type

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def context_length(card: ModelCard) -> int | None:
    """Tokens of prompt and answer that the model is made for; None where its config does not say.

    A factor that stretches rotary positions counts where the config states the length before it. Gemma 3 states the
    length after it, and settings by type of layer (transformers 5's form of the same) do, too.
    """
    config = read_config(Path(card.folder))
    config = config.get("text_config") or config
    length = config.get("max_position_embeddings")
    if length is None:
        return None
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    by_layer_type = any(isinstance(value, dict) for value in rope.values())
    if by_layer_type or str(config.get("model_type", "")).startswith("gemma3"):
        return int(length)
    before = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings") or length
    return int(length * (rope.get("factor") or 1)) if before == length else int(length)


def generation_end_ids(card: ModelCard) -> list[int]:
    """Ids that end an answer by the model's generation_config.json; none where there is no such file or key."""
    path = Path(card.folder) / "generation_config.json"
    ends = read_json(path).get("eos_token_id") if path.exists() else None
    return [] if ends is None else [int(end) for end in (ends if isinstance(ends, list) else [ends])]


def load_tokenizer(card: ModelCard) -> PreTrainedTokenizerBase:
    """Load a model's tokenizer.

    Raises:
        StudyError: it can't be read, or loses the words of a text.
    """
    return read_tokenizer(Path(card.folder))


def read_tokenizer(folder: Path, says_words_back: bool = True) -> PreTrainedTokenizerBase:
    """Read the tokenizer of a folder; raises as load_tokenizer.

    Args:
        says_words_back: what it decodes must hold the words of a text; an encoder's need not know every word.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # its readers fail with whatever they met
        raise StudyError(f"the tokenizer in {folder} can't be read: {_short(error)}") from None
    if not says_words_back:
        return tokenizer
    kept = str(tokenizer.decode(tokenizer(PROBE, add_special_tokens=False)["input_ids"]))
    if _letters(kept) != _letters(PROBE):
        raise StudyError(
            f"the tokenizer in {folder} turns {PROBE!r} into {kept[:80]!r}: a file of it is missing; "
            "copy tokenizer.json from the model's source"
        )
    return tokenizer


PROBE = "The patient said that her fever had been 39 degrees for 2 days."


_INSTRUCT = re.compile(r"(?i)(?:^|[-_ /.\d])(instruct|chat|it|assistant|sft|dpo|rlhf)(?=$|[-_ /.\d])")


def warn_of_missing_template(card: ModelCard, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """A sentence where a model that is named as made for chats came without its chat template, else none."""
    named = [card.name, *(str(card.source.get(key) or "") for key in ("hub", "folder", "gguf", "wheel"))]
    named.append(str(read_config(Path(card.folder)).get("_name_or_path") or ""))
    if getattr(tokenizer, "chat_template", None) or not any(map(_INSTRUCT.search, named)):
        return []
    return [
        f"{card.name} is named as a model made for chats, and its folder has no chat template (chat_template.jinja, or "
        "a key of tokenizer_config.json): its prompts are plain text, which it was not made for"
    ]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def load_model(
    card: ModelCard, quantization: Quantization, dtype: Dtype, device: str, unquantized_without_gpu: bool = False
) -> PreTrainedModel:
    """Load a model in evaluation mode, its weights straight to the device.

    One that is to be fp8 stays on the processor, unquantized, until its adapter is merged: see fp8.quantize_linears.

    Raises:
        StudyError: no GPU for device cuda, or for a quantized model unless `unquantized_without_gpu`; the folder lacks
            a weight that the network has, or a weight is not a number.
    """
    import torch

    require_device(device)
    dtype = number_type(dtype, device)
    if not multiplies(dtype, device):
        log.warning(
            "%s: this %s has no instructions for %s and emulates it, many times slower; set dtype: auto",
            card.name,
            "processor" if device == "cpu" else "GPU",
            dtype,
        )
    if quantization != "none" and device != "cuda":
        if not unquantized_without_gpu:
            raise StudyError(
                f"{card.name}: quantization {quantization} needs a GPU, and this step runs on {device}; set "
                f"hardware.device to cuda, quantization to none, or unquantized_without_gpu to true"
            )
        log.warning("%s: no GPU, so it runs in %s instead of %s", card.name, dtype, quantization)
        quantization = "none"
    folder = Path(card.folder)
    refuse_adapter_beside_model(folder)
    refuse_quantized(folder, read_config(folder))
    try:
        model, loaded = _from_pretrained(card, quantization, getattr(torch, dtype), device)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "CUDA" in str(error):
            raise  # the device's fault, out of memory among them: another try may do
        raise StudyError(f"{card.name}: {card.folder} can't be loaded as a model: {_short(error)}") from None
    check_whole(card, model, loaded)
    return model.eval()


def _from_pretrained(
    card: ModelCard, quantization: Quantization, dtype: Any, device: str
) -> tuple[PreTrainedModel, dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM

    found: Any = AutoModelForCausalLM.from_pretrained(
        card.folder,
        dtype=dtype,
        device_map={"": torch.cuda.current_device() if device == "cuda" and quantization != "fp8" else "cpu"},
        quantization_config=_quantization_config(quantization, dtype),
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    model, loaded = found
    return model, loaded


# Heads over hidden states, which are drawn at random where a network gets a task of its own, and poolers, which it may
# lack.
_HEADS = re.compile(r"(^|\.)(pooler|classifier|pre_classifier|score|head)\.")


def load_network(card: ModelCard, kind: Any, dtype: Any, **options: Any) -> Any:
    """Load a network for its hidden states, in evaluation mode; a new head's weights may be missing, others not.

    Args:
        kind: a class of transformers with `from_pretrained`, e.g. AutoModel.
        options: for `from_pretrained`.

    Raises:
        StudyError: as load_model.
    """
    folder = Path(card.folder)
    refuse_adapter_beside_model(folder)
    refuse_quantized(folder, read_config(folder))
    settings: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    try:
        network, loaded = kind.from_pretrained(card.folder, dtype=dtype, **settings, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise StudyError(f"{card.name}: {card.folder} can't be loaded as a model: {_short(error)}") from None
    check_whole(card, network, loaded, _HEADS)
    return network.eval()


def check_whole(
    card: ModelCard, model: PreTrainedModel, loaded: dict[str, Any], may_be_new: re.Pattern[str] | None = None
) -> None:
    """Every weight of the network came from the files, in its shape, and is a number.

    Args:
        loaded: what transformers says of the loading: `missing_keys` would be drawn at random.
        may_be_new: names of weights that need not be in the files.

    Raises:
        StudyError: names a weight that isn't so.
    """
    missing = sorted(name for name in loaded.get("missing_keys") or () if not (may_be_new and may_be_new.search(name)))
    if missing:
        raise StudyError(
            f"{card.name}: {card.folder} lacks {len(missing)} weights that {card.architecture} has, e.g. {missing[0]}: "
            "it is another network or not whole; fetch the model again, or name the folder that it was saved to"
        )
    mismatched = list(loaded.get("mismatched_keys") or ())
    if mismatched:
        raise StudyError(f"{card.name}: {card.folder} holds weights of other shapes, e.g. {mismatched[0]}")
    for name, weight in model.named_parameters():
        if weight.is_floating_point() and weight.numel() and not _is_finite(weight):
            raise StudyError(f"{card.name}: the weight {name} holds values that are no finite numbers")


def _is_finite(weight: Tensor) -> bool:
    """Whether all values are finite numbers, without a copy: an embedding's alone is half a gigabyte of an 8B."""
    return all(bool(bound.isfinite()) for bound in weight.aminmax())  # NaN is both, infinity one


def load_adapter(model: PreTrainedModel, folder: Path | str) -> PeftModel:
    """Put a finetuned adapter on its base model, in evaluation mode.

    Raises:
        StudyError: its weights are missing or cut.
    """
    weights = Path(folder) / ADAPTER_WEIGHTS
    if not weights.exists():
        raise StudyError(f"{weights} is missing: make it with `snakemake {weights}`")
    read_header(weights, f"make it again with `snakemake --force {weights}`")
    from peft import PeftModel

    return PeftModel.from_pretrained(model, folder, use_safetensors=True).eval()


def require_device(device: str) -> None:
    """Raise a StudyError where the device is cuda and there is no GPU."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError(
            "no GPU found: hardware.device is cuda; set it to cpu (slow, and not for 4-bit models), "
            "or check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
        )


def _quantization_config(quantization: Quantization, compute_dtype: Any) -> Any:
    if quantization in ("none", "fp8"):
        return None
    from transformers import BitsAndBytesConfig

    if quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute_dtype)
