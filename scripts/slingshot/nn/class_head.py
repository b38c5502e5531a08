"""A head over labels in the place of a language model's head over tokens.

The network then gives, at each token, one number per label instead of one per token of its vocabulary. At a prompt's
last token these are the logits of the label (`finetune.head: classify`). Everything that asks a model for the logits
of a next token works unchanged: the next token is the label's number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from slingshot.artifacts.layout import ADAPTER_WEIGHTS
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_text
from slingshot.nn import lora
from slingshot.nn.adapter_files import read_weights

NAME = "class_head"  # before its weights' names in an adapter's file

LABELS = f"{NAME}.labels"  # the labels in the order of the logits: JSON as bytes, as a file's metadata has no order

SPREAD = 0.02  # standard deviation of the weights that training starts from


class ClassHead(nn.Linear):
    """Hidden states (..., width) of any type to float32 logits (..., labels); its weights are kept in float32.

    Without a bias, as the heads of transformers' ForSequenceClassification models have none: an arm is exported as one.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden.float(), self.weight)


def replace_head(model: PreTrainedModel, labels: int, seed: int) -> ClassHead:
    """Put a new head over labels in the place of the model's own; it learns, whatever else is frozen."""
    own = model.get_output_embeddings()
    head = ClassHead(own.in_features, labels, bias=False, dtype=torch.float32)
    draw = torch.Generator().manual_seed(int(digest_of_text(f"{seed} {NAME}")[:15], 16))
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=draw) * SPREAD)
    model.set_output_embeddings(head.to(own.weight.device).requires_grad_())
    return head


def trained_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """What training changes: the adapter's weights and, where there is one, the head's; memory is the model's."""
    return lora.adapter_state(model) | _head_state(model)


def load_trained_state(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Copy weights as `trained_state` names them into the model."""
    own = _head_state(model)
    lora.load_adapter_state(model, {name: value for name, value in state.items() if name not in own})
    for name, value in own.items():
        value.copy_(state[name])


def _head_state(model: PreTrainedModel) -> dict[str, Tensor]:
    head = model.get_output_embeddings()
    if not isinstance(head, ClassHead):
        return {}
    return {f"{NAME}.weight": head.weight.data}


def load_head(model: PreTrainedModel, adapter: Path) -> list[str]:
    """Put the head that an adapter's file holds into the model; gives the labels in the order of its logits.

    Raises:
        StudyError: the adapter has no such head.
    """
    kept = read_weights(adapter / ADAPTER_WEIGHTS)
    labels = labels_in(kept)
    if labels is None:
        raise StudyError(f"{adapter} holds no head over labels: finetune it again with finetune.head: classify")
    if f"{NAME}.bias" in kept:
        raise StudyError(f"{adapter} holds a head with a bias, of an earlier version: finetune it again")
    head = replace_head(model, len(labels), seed=0)
    with torch.no_grad():
        head.weight.copy_(kept[f"{NAME}.weight"])
    head.requires_grad_(False)
    return labels


def as_classifier(model: PreTrainedModel, adapter: Path) -> PreTrainedModel:
    """The network with an adapter's head as transformers' own ForSequenceClassification model, sharing its weights.

    Raises:
        StudyError: transformers has no such class for this architecture.
    """
    from transformers import AutoModelForSequenceClassification

    labels = load_head(model, adapter)
    head = model.get_output_embeddings()
    config = type(model.config).from_dict(model.config.to_dict())
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    config.pad_token_id = config.pad_token_id if config.pad_token_id is not None else 0
    config.tie_word_embeddings = False
    try:
        classifier = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError:
        raise StudyError(
            f"{adapter}: transformers has no classifier for {type(model).__name__}: answer new texts with "
            "scripts/answer.py"
        ) from None
    classifier.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        classifier.score.weight.copy_(head.weight)
    return classifier.eval()


def labels_in(state: Mapping[str, Tensor]) -> list[str] | None:
    """The labels that an adapter's weights hold; None where it has no head over labels."""
    return list(json.loads(bytes(state[LABELS].tolist()))) if LABELS in state else None


def with_labels(state: Mapping[str, Tensor], labels: Sequence[str] | None) -> dict[str, Tensor]:
    """An adapter's weights with the labels of its head; as they are without a head."""
    if labels is None:
        return dict(state)
    return {**state, LABELS: torch.tensor(list(json.dumps(list(labels)).encode()), dtype=torch.uint8)}
