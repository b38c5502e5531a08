"""The card of an exported arm: what it is, how well it does and on what, how to ask it, and what it is not for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slingshot.artifacts.dataset import read_dataset
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.metrics import Metrics, Score, read_metrics
from slingshot.artifacts.model_card import ModelCard
from slingshot.config.arms import Arm

ORIGIN = "of a Slingshot study"  # in every card, by which an export is known

MODEL_LICENCE = (
    "The weights are under the licence of their base model. Cite the base model, the data set, and Slingshot."
)

EMBEDDING_LICENCE = (
    "The network in network/ is under the licence of its base model. The classifier was fitted on the train texts; "
    "this card grants no licence for them or for it. Cite the base model, the data set, and Slingshot."
)

FITTED_LICENCE = (
    "There is no base model. The pipeline was fitted on the train texts; this card grants no licence for them or "
    "for it. Cite the data set, and Slingshot."
)


@dataclass(frozen=True)
class FolderOrigin:
    """What an exported folder was made from. `loader`: the library that loads it without Slingshot, as the hub names
    it; `status`: how it was made, where the arm's training status does not say."""

    card: ModelCard | None  # of the base model; None for what needs none
    loader: str | None
    licence: str
    status: str | None = None


def card_of_export(
    arm: Arm,
    origin: FolderOrigin,
    files: ArmFiles,
    results: ResultFiles,
    use: list[str],
    notes: list[str],
    doubt: str | None = None,
) -> str:
    """README.md of the exported folder, with the front matter that the Hugging Face hub reads, where there is any.

    Args:
        use: lines that say how to ask it (`use_of_...`).
        notes: what a reader should know beside the scores.
        doubt: why the scores may not hold for the folder.
    """
    metrics, dataset, card = read_metrics(files.metrics), read_dataset(results.data.dataset), origin.card
    hub = card.source.get("hub") if card else None  # the front matter may name a model of the hub alone
    base = hub or (card.source.get("wheel") or card.source.get("folder") or card.name if card else None)
    facts = [f"base_model: {hub}"] if hub else []
    facts += [f"library_name: {origin.loader}"] if origin.loader else []
    lines = [
        *(["---", *facts, "---", ""] if facts else []),
        f"# {metrics.model_name}, {origin.status or metrics.training_status}",
        "",
        f"The arm `{arm.path}` {ORIGIN}" + (f"; base model {base} at revision {card.revision}." if card else "."),
        "",
        "## Scores",
        "",
        f"On {metrics.n_samples} test samples that were not trained on, with {_confidence(metrics)} intervals:",
        "",
        "| score | value |",
        "| --- | --- |",
        *[f"| {name} | {_with_interval(score)} |" for name, score in _scores(metrics).items()],
        "",
        *([f"**Warning:** {doubt}.", ""] if doubt else []),
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
        origin.licence,
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


def use_of_writer(window: int, new_tokens: int, merged: bool) -> list[str]:
    """How to ask a model that writes its answer; `window`: tokens of a prompt at most."""
    what = "This folder" if merged else "This adapter, on its base model,"
    lines = [
        f"{what} answers one text at a time: {_MESSAGES}, greedy decoding, {new_tokens} new tokens at most "
        f"(generation_config.json). {_changed_texts(window)} It writes freely: scores called constrained are of "
        "answers that scripts/answer.py alone gives.",
        "",
        "```python",
        *_MAKE_MESSAGES,
        "```",
    ]
    if not merged:
        return lines
    return [
        *lines,
        "",
        "```bash",
        f"vllm serve . --max-model-len {window + new_tokens}  # is sent these messages",
        "ollama create my-coder -f Modelfile  # is sent the text alone: the prompt is in the Modelfile",
        "```",
    ]


def use_of_classifier(window: int) -> list[str]:
    """How to ask a model with a head over labels, exported as transformers' classifier."""
    return [
        f"It chooses one of its labels by the last token of a prompt: {_MESSAGES} with the answer's turn opened. "
        + _changed_texts(window),
        "",
        "```python",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        *_MAKE_MESSAGES,
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


_MESSAGES = (
    "the messages of prompt.yaml with the text in the place of `{{ text }}`, put into the tokenizer's chat template "
    "(without one: the messages, each followed by a blank line)"
)

_MAKE_MESSAGES = [
    "import yaml",
    "",
    'prompt = yaml.safe_load(open("prompt.yaml", encoding="utf-8"))',
    'messages = [{"role": "system", "content": prompt["system"]}] if prompt["system"] is not None else []',
    'for example in prompt.get("examples", []):',
    '    messages += [{"role": role, "content": example[role]} for role in ("user", "assistant")]',
    'messages.append({"role": "user", "content": prompt["user"].replace("{{ text }}", text)})',
]


def _changed_texts(window: int) -> str:
    return (
        f"A prompt of more than {window} tokens lost the middle of its text in the study, and control tokens in a text "
        "(`<|im_start|>`) were broken up by a blank."
    )
