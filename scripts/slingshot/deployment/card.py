"""The card of an exported arm: what it is, how well it does and on what, how to ask it, and what it is not for."""

from __future__ import annotations

from typing import Any

from slingshot.artifacts.dataset import read_dataset
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.metrics import Metrics, Score, read_metrics
from slingshot.artifacts.model_card import ModelCard
from slingshot.config.arms import Arm
from slingshot.config.specs import PredictSpec


def card_of_export(
    arm: Arm, card: ModelCard | None, files: ArmFiles, results: ResultFiles, use: list[str], notes: list[str]
) -> str:
    """README.md of the exported folder, with the front matter that the Hugging Face hub reads.

    Args:
        card: of the base model; None for what needs none.
        use: lines that say how to ask it (`use_of_...`).
        notes: what a reader should know beside the scores.
    """
    metrics, dataset = read_metrics(files.metrics), read_dataset(results.data.dataset)
    hub = card.source.get("hub") if card else None  # the front matter may name a model of the hub alone
    base = hub or (card.source.get("wheel") or card.source.get("folder") or card.name if card else None)
    front = [
        "---",
        *([f"base_model: {hub}"] if hub else []),
        *(["library_name: transformers"] if card else []),
        "---",
    ]
    lines = [
        *front,
        "",
        f"# {metrics.model_name}, {metrics.training_status}",
        "",
        f"The arm `{arm.path}` of a Slingshot study"
        + (f"; base model {base} at revision {card.revision}." if card else "."),
        "",
        "## Scores",
        "",
        f"On {metrics.n_samples} test samples that were not trained on, with {_confidence(metrics)} intervals:",
        "",
        "| score | value |",
        "| --- | --- |",
        *[f"| {name} | {_with_interval(score)} |" for name, score in _scores(metrics).items()],
        "",
        f"Data: {_origin(dataset)}; {dataset['splits']['train']['samples']} train samples.",
        "",
        "## Use",
        "",
        *use,
        "",
        "## Limits",
        "",
        "The scores hold for texts like those of the test split. The model answers with a label for every text, also "
        "for one that has none. It is no medical device: a person has to look at what it answers.",
        *[f"- {note}" for note in notes],
        "",
        "## Licence and citation",
        "",
        "The weights are under the licence of their base model. Cite the base model, the data set, and Slingshot.",
    ]
    return "\n".join(lines) + "\n"


def _scores(metrics: Metrics) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for kind, answers in metrics.answers.items():
        suffix = "" if kind == "free" else f", {kind}"
        if answers.sets is not None:
            found |= {f"micro F1{suffix}": answers.sets.micro.f1, f"macro F1{suffix}": answers.sets.macro.f1}
            found[f"exact match{suffix}"] = answers.exact_match
            continue
        level = next(iter(answers.levels.values()))
        found |= {f"exact match{suffix}": answers.exact_match, f"weighted F1{suffix}": level.weighted_f1}
    return found


def _with_interval(score: Score) -> str:
    return f"{score.value:.1%} [{score.low:.1%}, {score.high:.1%}]"


def _confidence(metrics: Metrics) -> str:
    return f"{metrics.confidence:.0%}"


def _origin(dataset: dict[str, Any]) -> str:
    source = dataset["source"]
    name = source.get("hub") or source.get("path") or "a local file"
    return f"{name} at {source['revision']}" if source.get("revision") else str(name)


def use_of_writer(spec: PredictSpec, merged: bool) -> list[str]:
    """How to ask a model that writes its answer."""
    what = "This folder" if merged else "This adapter, on its base model,"
    lines = [
        f"{what} answers one text at a time: the messages of prompt.yaml, put into the tokenizer's chat template, "
        f"greedy decoding, {spec.generation.max_new_tokens} new tokens at most (generation_config.json). "
        + _window(spec),
    ]
    if not merged:
        return lines
    return [
        *lines,
        "",
        "```bash",
        f"vllm serve . --max-model-len {spec.prompt.max_tokens + spec.generation.max_new_tokens}",
        "ollama create my-coder -f Modelfile",
        "```",
    ]


def use_of_classifier(spec: PredictSpec) -> list[str]:
    """How to ask a model with a head over labels, exported as transformers' classifier."""
    return [
        "It chooses one of its labels by the last token of a prompt: the messages of prompt.yaml, put into the "
        "tokenizer's chat template with the answer's turn opened. " + _window(spec),
        "",
        "```python",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'model = AutoModelForSequenceClassification.from_pretrained(".")',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
        ")",
        "print(model.config.id2label[model(**inputs).logits[0].argmax().item()])",
        "```",
    ]


def use_of_pipeline() -> list[str]:
    """How to ask a fitted pipeline."""
    return [
        "Slingshot reads these files, with its `scripts` folder on PYTHONPATH (texts of a file: `scripts/answer.py`):",
        "",
        "```python",
        "from pathlib import Path",
        "from slingshot.rivals.pipeline import load_fitted",
        "",
        'fitted = load_fitted(Path("."))',
        "chosen = fitted.answer(texts).probabilities.argmax(axis=1)",
        "print([fitted.labels[place] for place in chosen])",
        "```",
    ]


def _window(spec: PredictSpec) -> str:
    return f"A prompt of more than {spec.prompt.max_tokens} tokens lost the middle of its text in the study."
