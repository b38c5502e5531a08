"""The sections that a model may override: prompt, generation, few_shot, finetune, answering."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from slingshot.config.base import (
    MOST_EXAMPLES,
    MOST_SAMPLES,
    MOST_TOKENS,
    AnswerForm,
    Count,
    EnsembleWeights,
    LabelOrder,
    Seed,
    SelectBy,
    Share,
    Spec,
)

MOST_RANK = 4096  # no layer of a small model is wider by much; a rank above its width adds nothing

MOST_LAYERS = 1000


class Prompt(Spec):
    """How a dialogue is put to a model, and what its answer looks like."""

    file: str | None = Field(
        None,
        description="`system` and `user` texts, from the study's folder; null: prompts/icd10cm.yaml (plain.yaml, "
        "tree.yaml) there, else the one in scripts/slingshot/prompting/prompts",
    )
    answer: AnswerForm = Field("code", description="the form of an answer, in training and in the instruction")
    max_tokens: int = Field(
        2048,
        ge=32,
        le=MOST_TOKENS,
        description="a longer prompt loses the middle of its dialogue, in training as in evaluation",
    )
    candidates: int = Field(10, ge=1, le=500, description="how many labels {{ candidates }} shows, if the prompt does")
    order: LabelOrder = Field(
        "code",
        description="of the labels in an answer, where samples have several. code: sorted; frequency: the most "
        "frequent in train first",
    )


class Generation(Spec):
    """How an answer is decoded. Always greedy."""

    max_new_tokens: int = Field(
        32, ge=1, le=100_000, description="an answer is cut after N tokens; unset with data.several: 256"
    )
    constrained: bool = Field(
        True,
        description="also decode with only known labels allowed; both are scored, so that the verdict tells knowledge "
        "from form. Behind an endpoint it is a second request per dialogue, sent only where a model or the study "
        "sets it",
    )
    vocabulary: Literal["study", "code_set"] = Field(
        "study", description="what constrained decoding may say: the study's labels, or the whole code tree"
    )
    candidates: int = Field(
        0, ge=0, le=20, description="the N best labels of each sample, ranked with their log-probabilities"
    )
    thinking: bool = Field(
        False, description="let the model think before it answers; needs a model whose chat template can"
    )
    thinking_tokens: int = Field(
        2048,
        ge=1,
        le=MOST_TOKENS,
        description="a thought is closed after N tokens; max_new_tokens are then left for the answer",
    )


class FewShot(Spec):
    """Worked examples from train, put before the dialogue."""

    k: int = Field(0, ge=0, le=MOST_EXAMPLES, description="how many")
    selection: Literal["random", "nearest"] = Field("random", description="seeded, or nearest by TF-IDF")
    seed: Seed = Field(42, description="of the random selection")


class Lora(Spec):
    """Low-rank adaptation (Hu et al. 2021)."""

    r: Annotated[int, Field(ge=1, le=MOST_RANK)] | Literal["auto"] = Field(
        64, description="rank; auto: 16 below 1 billion parameters, 32 below 2 billion, else 64"
    )
    alpha: Annotated[int, Field(ge=1, le=100 * MOST_RANK)] | Literal["auto"] = Field(
        128, description="auto: twice the rank"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="of what goes into an adapter, while training")
    targets: Literal["all-linear", "attention"] | list[str] = Field(
        "all-linear", description="all-linear: every linear layer of the network but its head; attention: q, k, v and o"
    )
    layers: int | None = Field(
        None,
        ge=1,
        le=MOST_LAYERS,
        description="adapters on the last N layers only: the backward pass ends there, and a step takes less time; "
        "null: on all",
    )
    experts: bool = Field(
        False,
        description="also on the experts of a mixture that lie in one tensor, an adapter of rank r for each, without "
        "dropout; they are many, so choose a small r",
    )


class Finetune(Spec):
    """The training recipe. `batch_size` is the effective batch in samples, whatever memory allows at once."""

    epochs: float = Field(3, gt=0, le=10_000, description="passes over train; may be a fraction")
    max_steps: Count | None = Field(None, description="stop after N optimizer steps")
    learning_rate: float = Field(2e-4, gt=0, le=10, description="the highest rate of the schedule")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="how the rate falls after the warm-up"
    )
    warmup_share: Share = Field(0.05, description="share of all steps over which the rate rises from 0")
    batch_size: int = Field(
        32, ge=1, le=1_000_000, description="samples per optimizer step, whatever memory allows at once"
    )
    weight_decay: float = Field(0.01, ge=0, le=100, description="of AdamW, on the adapter weights")
    max_gradient_norm: float = Field(1.0, gt=0, le=1e9, description="a longer gradient is scaled down to this norm")
    max_tokens: int = Field(
        2048,
        ge=32,
        le=MOST_TOKENS,
        description="unset: as prompt.max_tokens, the one window of a dialogue's prompt in training and in evaluation; "
        "another number is an error",
    )
    lora: Lora = Lora()
    head: Literal["write", "classify"] = Field(
        "write",
        description="how a finetuned model answers: it writes the label, or a linear head over the prompt's last token "
        "chooses among the labels of train, trained with the adapter",
    )
    evaluate_every: Count = Field(50, description="optimizer steps between evaluations on validation")
    patience: Count | None = Field(3, description="stop after N evaluations without gain; null: never")
    validation_samples: int | None = Field(
        256, ge=1, le=MOST_SAMPLES, description="validation samples per evaluation, always the same ones; null: all"
    )
    select_by: SelectBy = Field(
        "validation_loss",
        description="which adapter is kept; exact match, and micro F1 of sets of labels, answer the validation sample "
        "each time",
    )
    fp8: bool = Field(
        False,
        description="multiply frozen weights in 8 bits (e4m3) while training, on GPUs that can (compute capability 8.9 "
        "and up), for families with merged layers; takes as much memory more as the weights; adapters and answers keep "
        "their type",
    )
    deterministic: bool = Field(False, description="the same bytes from the same seed on the same device; slower")


class Answering(Spec):
    """How the splits are answered."""

    shards: int = Field(
        1, ge=1, le=10_000, description="jobs over which an arm's predictions are spread; changes no result"
    )
    ensemble_weights: EnsembleWeights = Field(
        "equal", description="validation: the study's own arms answer that split too, and weights are fitted on it"
    )
    answer_validation: bool = Field(
        False,
        description="language models answer the validation split, too, so that selective coding has a threshold for "
        "them (with generation.candidates); arms that write nothing always do",
    )


def overridden(finetune: Finetune, setting: dict[str, Any]) -> Finetune:
    """A recipe with some of its keys, dotted where nested, replaced; of a section those that the value has.

    Raises:
        ValidationError: the recipe has no such key, or its value is not allowed.
    """
    changed = finetune.model_dump()
    for key, value in setting.items():
        section = changed
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        inner = section.get(last)
        section[last] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    return Finetune.model_validate(changed)
