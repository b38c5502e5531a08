"""Arms whose network is finetuned whole with a classification head, by transformers' Trainer.

Where a text has several labels, each has a sigmoid of its own and binary cross-entropy is the loss.

Every epoch is judged on validation by its loss; the best is kept, and training stops where it no longer gains. A
killed run goes on from its last epoch.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slingshot.artifacts.records import timed
from slingshot.config.base import NumberType
from slingshot.config.rivals import EncoderSettings
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json_with, write_json
from slingshot.core.progress import progress
from slingshot.core.terminal import step_name
from slingshot.models.loading import load_network
from slingshot.models.number_types import number_type
from slingshot.rivals.pipeline import Answered, FitJob, Texts
from slingshot.rivals.token_windows import (
    TOKENS_PER_BATCH,
    batches_by_length,
    longest_input,
    padded_tokenizer,
    without_middle,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedEncoder:
    """A finetuned encoder as an arm: a slingshot.rivals.pipeline.Fitted. `length`: tokens of an input at most."""

    tokenizer: Any
    network: Any
    labels: list[str]
    length: int
    device: str
    training: dict[str, Any]
    several: bool = False

    def answer(self, texts: Sequence[str]) -> Answered:
        import torch

        rows, truncated = encode(self.tokenizer, texts, self.length)
        probabilities = np.zeros((len(texts), len(self.labels)))
        self.network.eval()
        for places in batches_by_length(rows, TOKENS_PER_BATCH[self.device]):
            inputs = self.tokenizer.pad({"input_ids": [rows[place] for place in places]}, return_tensors="pt")
            with torch.inference_mode():
                logits = self.network(**inputs.to(self.device)).logits
                shares = logits.double().sigmoid() if self.several else logits.double().softmax(dim=1)
                probabilities[places] = shares.cpu().numpy()
        return Answered(probabilities, [len(row) for row in rows], truncated)

    def save(self, folder: Path) -> None:
        self.network.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        kept = {"labels": self.labels, "length": self.length} | ({"several": True} if self.several else {})
        write_json(folder / "classes.json", kept)


def encode(tokenizer: Any, texts: Sequence[str], length: int) -> tuple[list[list[int]], list[bool]]:
    """Token ids of each text with special tokens, at most `length`, and whether its middle had to go for that."""
    cut = [without_middle(tokenizer, text, length) for text in texts]
    if not cut:
        return [], []
    ids = tokenizer([text for text, _ in cut], truncation=True, max_length=length)["input_ids"]
    return list(ids), [truncated for _, truncated in cut]


def fit_rival(job: FitJob) -> FittedEncoder:
    """Finetune the network.

    Raises:
        StudyError: train holds one label only.
    """
    labels = job.train.names
    if len(labels) < 2:
        raise StudyError("train holds one label; an encoder needs two or more")
    assert job.card is not None
    settings = EncoderSettings.model_validate(job.recipe.model_dump(include=set(EncoderSettings.model_fields)))
    dtype = number_type(settings.dtype, job.device, trained=True)
    with timed(job.seconds, "imports"):
        import torch
        from transformers import AutoModelForSequenceClassification, set_seed
    with timed(job.seconds, "load"):
        set_seed(job.seed)  # of the new head
        tokenizer = padded_tokenizer(job.card.folder)
        network = load_network(job.card, AutoModelForSequenceClassification, torch.float32, num_labels=len(labels))
        network.config.pad_token_id = tokenizer.pad_token_id
    length = longest_input(job.card, settings.max_tokens)
    with timed(job.seconds, "encode"):
        train, validation = (_rows(tokenizer, split, labels, length) for split in (job.train, job.validation))
    with timed(job.seconds, "train"):
        training = _train(job, settings, dtype, tokenizer, network, train, validation, len(labels))
    training["dtype"] = dtype
    training["trained_tokens"] = round(sum(len(row["input_ids"]) for row in train) * training["epochs"])
    return FittedEncoder(tokenizer, network.to(job.device), labels, length, job.device, training, job.several)


def _rows(tokenizer: Any, split: Texts, labels: list[str], length: int) -> list[dict[str, Any]]:
    """Samples as the Trainer takes them; those whose label train lacks cannot be learned or judged.

    Of several labels, those that train has are kept, as a list of their numbers.
    """
    place = {label: number for number, label in enumerate(labels)}
    ids, _ = encode(tokenizer, split.texts, length)
    if split.sets is not None:
        return [
            {"input_ids": row, "labels": [place[label] for label in each if label in place]}
            for row, each in zip(ids, split.sets, strict=True)
        ]
    return [
        {"input_ids": row, "labels": place[label]}
        for row, label in zip(ids, split.labels, strict=True)
        if label in place
    ]


def _train(
    job: FitJob,
    settings: EncoderSettings,
    dtype: NumberType,
    tokenizer: Any,
    network: Any,
    train: list[dict[str, Any]],
    validation: list[dict[str, Any]],
    count: int,
) -> dict[str, Any]:
    """Train in place; gives what training.json says."""
    from transformers import DataCollatorWithPadding, EarlyStoppingCallback, Trainer
    from transformers.trainer_utils import get_last_checkpoint

    collate, loss = DataCollatorWithPadding(tokenizer), weighted_loss
    if job.several:
        start_at_frequencies(network, [row["labels"] for row in train], count)
        collate, loss = set_collator(collate, count), set_loss
        weights = set_weights([row["labels"] for row in train], count, settings.class_weights)
    else:
        weights = label_weights([row["labels"] for row in train], count, settings.class_weights)
    judged = bool(validation)
    trainer = Trainer(
        model=network,
        args=_arguments(job, settings, dtype, len(train), judged),
        train_dataset=train,
        eval_dataset=validation if judged else None,
        data_collator=collate,
        compute_loss_func=loss(weights),
        callbacks=[EarlyStoppingCallback(settings.patience)] if judged and settings.patience else [],
    )
    job.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as open_meter:
        trainer.add_callback(shows_steps(open_meter))
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(job.folder)))
    trainer.accelerator.unwrap_model(network, keep_fp32_wrapper=False)  # it answers in float32, as its files will
    job.log.extend(log_lines(trainer.state.log_history))
    best = trainer.state.best_metric
    return {
        "epochs": float(trainer.state.epoch or 0.0),
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step if judged else trainer.state.global_step,
        "best_validation_loss": None if best is None else float(best),
    }


def shows_steps(open_meter: ExitStack) -> Any:
    """A callback of the Trainer that shows how far it is; what it shows on is closed with `open_meter`."""
    from transformers import TrainerCallback

    class ShowsSteps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            title = step_name("encoder")
            self.meter = open_meter.enter_context(progress(title, state.max_steps, "steps", done=state.global_step))

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.meter.advance(1)

    return ShowsSteps()


def _arguments(job: FitJob, settings: EncoderSettings, dtype: NumberType, samples: int, judged: bool) -> Any:
    from transformers import TrainingArguments

    whole = math.ceil(settings.epochs * math.ceil(samples / settings.batch_size))
    steps = min(whole, settings.max_steps or whole)
    return TrainingArguments(
        output_dir=str(job.folder),
        num_train_epochs=settings.epochs,
        max_steps=steps if steps < whole else -1,  # another number would take the place of the epochs
        learning_rate=settings.learning_rate,
        warmup_steps=round(settings.warmup_share * steps),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=4 * settings.batch_size,
        weight_decay=settings.weight_decay,
        load_best_model_at_end=judged,
        metric_for_best_model="eval_loss" if judged else None,
        greater_is_better=False if judged else None,
        save_total_limit=2,
        logging_steps=max(1, steps // 50),
        report_to=[],
        disable_tqdm=True,
        use_cpu=job.device == "cpu",
        bf16=dtype == "bfloat16",
        seed=job.seed,
        data_seed=job.seed,
        dataloader_pin_memory=job.device == "cuda",
        save_strategy="epoch",
        eval_strategy="epoch" if judged else "no",
    )


def label_weights(labels: Sequence[int], count: int, kind: str) -> list[float]:
    """What a sample of each of `count` labels counts in the loss; the mean over the samples is 1."""
    if kind == "none":
        return [1.0] * count
    frequency = Counter(labels)
    raw = [(1 / frequency[label]) ** (0.5 if kind == "root" else 1.0) for label in range(count)]
    mean = sum(raw[label] for label in labels) / len(labels)
    return [weight / mean for weight in raw]


def weighted_loss(weights: Sequence[float]) -> Any:
    """The Trainer's loss: cross-entropy of each sample times its label's weight, over the number of samples."""
    import torch

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        each = torch.nn.functional.cross_entropy(outputs.logits.float(), labels, reduction="none")
        weighted = each * torch.tensor(weights, device=each.device)[labels]
        return weighted.sum() / (len(labels) if num_items_in_batch is None else num_items_in_batch)

    return loss


def set_weights(sets: Sequence[Sequence[int]], count: int, kind: str) -> list[float]:
    """What a sample that has a label counts in that label's loss, where one that lacks it counts 1.

    balanced: samples with and without it weigh the same; root: the square root of that.
    """
    if kind == "none":
        return [1.0] * count
    having = Counter(label for each in sets for label in each)
    ratios = [(len(sets) - having[label]) / max(having[label], 1) for label in range(count)]
    return [max(ratio, 1.0) ** (0.5 if kind == "root" else 1.0) for ratio in ratios]


def start_at_frequencies(network: Any, sets: Sequence[Sequence[int]], count: int) -> None:
    """Set the head's bias to the log-odds of each label's share of train, so that no step is spent on learning it.

    As for the rare class in Lin et al. (2017, arXiv:1708.02002, section 3.3). A head without a bias stays as it is.
    """
    import torch

    heads = [each for each in network.modules() if isinstance(each, torch.nn.Linear) and each.out_features == count]
    if not heads or heads[-1].bias is None:
        return
    having = Counter(label for each in sets for label in each)
    shares = torch.tensor([(having[label] + 0.5) / (len(sets) + 1) for label in range(count)])
    with torch.no_grad():
        heads[-1].bias.copy_(torch.log(shares / (1 - shares)))


def set_collator(pad: Any, count: int) -> Any:
    """Pads a batch, and makes indicators of shape (samples, labels) of its lists of labels."""
    import torch

    def collate(rows: Sequence[dict[str, Any]]) -> Any:
        batch = pad([{key: value for key, value in row.items() if key != "labels"} for row in rows])
        indicators = torch.zeros(len(rows), count)
        for number, row in enumerate(rows):
            indicators[number, row["labels"]] = 1.0
        batch["labels"] = indicators
        return batch

    return collate


def set_loss(weights: Sequence[float]) -> Any:
    """The Trainer's loss: mean binary cross-entropy over samples and labels; `weights` count where a label is there."""
    import torch

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        logits = outputs.logits.float()
        positive = torch.tensor(weights, device=logits.device)
        summed = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, labels, pos_weight=positive, reduction="sum"
        )
        return summed / (labels.numel() if num_items_in_batch is None else num_items_in_batch)

    return loss


def log_lines(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The Trainer's log as lines of training_log.jsonl, a step each."""
    names = {"epoch": "epoch", "loss": "loss", "learning_rate": "learning_rate", "eval_loss": "validation_loss"}
    lines: dict[int, dict[str, Any]] = {}
    for entry in history:
        line = lines.setdefault(int(entry["step"]), {"step": int(entry["step"])})
        line |= {ours: float(entry[theirs]) for theirs, ours in names.items() if theirs in entry}
    return [lines[step] for step in sorted(lines) if {"loss", "validation_loss"} & set(lines[step])]


def load_rival(folder: Path, device: str) -> FittedEncoder:
    """Read what FittedEncoder.save wrote."""
    from transformers import AutoModelForSequenceClassification

    kept = read_json_with(folder / "classes.json", "labels", "length")
    network = AutoModelForSequenceClassification.from_pretrained(
        folder, use_safetensors=True, trust_remote_code=False
    ).to(device)
    tokenizer, several = padded_tokenizer(str(folder)), kept.get("several", False)
    return FittedEncoder(tokenizer, network, kept["labels"], kept["length"], device, {}, several)
