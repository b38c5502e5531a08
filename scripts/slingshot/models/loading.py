"""Loading a fetched model: its card, its tokenizer, its weights, an adapter on top."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slingshot.artifacts.model_card import ModelCard
from slingshot.config.base import Dtype, Quantization
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.models.number_types import number_type, processor_multiplies

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)


def context_length(card: ModelCard) -> int | None:
    """Tokens of prompt and answer that the model is made for; None where its config does not say.

    A factor that stretches rotary positions counts where the config states the length before it. Gemma 3 states the
    length after it, and settings by type of layer (transformers 5's form of the same) do, too.
    """
    config = read_json(Path(card.folder) / "config.json")
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
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(card.folder, trust_remote_code=False)


def load_model(
    card: ModelCard, quantization: Quantization, dtype: Dtype, device: str, unquantized_without_gpu: bool = False
) -> PreTrainedModel:
    """Load a model in evaluation mode, its weights straight to the device.

    One that is to be fp8 stays on the processor, unquantized, until its adapter is merged: see fp8.quantize_linears.

    Raises:
        StudyError: no GPU for device cuda, or for a quantized model unless `unquantized_without_gpu`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    require_device(device)
    dtype = number_type(dtype, device)
    if device == "cpu" and not processor_multiplies(dtype):
        log.warning(
            "%s: this processor has no instructions for %s and emulates it, many times slower; set dtype: auto",
            card.name,
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
    model = AutoModelForCausalLM.from_pretrained(
        card.folder,
        dtype=getattr(torch, dtype),
        device_map={"": torch.cuda.current_device() if device == "cuda" and quantization != "fp8" else "cpu"},
        quantization_config=_quantization_config(quantization, getattr(torch, dtype)),
        use_safetensors=True,
        trust_remote_code=False,
    )
    return model.eval()


def load_adapter(model: PreTrainedModel, folder: Path | str) -> PeftModel:
    """Put a finetuned adapter on its base model, in evaluation mode."""
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
