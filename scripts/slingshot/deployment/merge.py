"""Merging a finetuned adapter into its base model."""

from __future__ import annotations

import logging
from pathlib import Path

from slingshot.artifacts.model_card import read_model_card
from slingshot.config.base import Dtype
from slingshot.core.errors import StudyError
from slingshot.core.files import let_others_read

log = logging.getLogger(__name__)


def write_merged_model(model: Path, adapter: Path, merged: Path, dtype: Dtype) -> None:
    """Write the model with its adapter summed in, all or nothing; `model` is its card, `merged` a new folder.

    Raises:
        StudyError: the folder exists, or the adapter is none that can be merged.
    """
    if merged.exists():
        raise StudyError(f"--merged {merged} exists already: name a new folder")
    from slingshot.models.loading import load_model, load_tokenizer
    from slingshot.nn.adapter_files import is_plain_lora, merge_adapter, note_of_other_weights, read_adapter
    from slingshot.nn.class_head import labels_in

    if not is_plain_lora(adapter):
        raise StudyError(f"--adapter {adapter} is no plain LoRA adapter: merge it with peft")
    if labels_in(read_adapter(adapter)[1]) is not None:
        raise StudyError(f"--adapter {adapter} chooses labels with a head and writes nothing: it cannot be merged")
    if note := note_of_other_weights(adapter, "none"):
        log.warning("%s", note)
    card = read_model_card(model)
    network = load_model(card, "none", dtype, "cpu")
    merge_adapter(network, adapter)
    partial = merged.with_name(f".{merged.name}.part")
    network.save_pretrained(partial)
    load_tokenizer(card).save_pretrained(partial)
    let_others_read(partial)
    partial.rename(merged)
