"""Answers of an exported folder by transformers alone: its own model class, tokenizer and `generate`.

Nothing of ours has a part in it but the prompt's text: what it gives is what a reader of the folder gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.config.specs import PredictSpec
from slingshot.generation.predict import make_prompts
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.prompter import Prompter


def label_lists(spec: PredictSpec, results: ResultFiles) -> LabelLists:
    """What the arm's prompts show of the labels."""
    labels = read_labels(results.data.labels)
    return LabelLists(spec.prompt, labels, lambda: samples_of(results.data.train, spec))


def samples_of(split: Path, spec: PredictSpec) -> list[dict[str, Any]]:
    """The samples of a split, with what the arm's prompts take of them."""
    return read_samples(split, columns_of_samples(spec.prompt.several is not None))


def write_plainly(
    folder: Path, samples: Sequence[dict[str, Any]], spec: PredictSpec, results: ResultFiles, dtype: str
) -> list[str]:
    """The raw answers of transformers' own `generate` to samples with a `text`, one prompt at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
    ).eval()
    answers = []
    with torch.inference_mode():
        for prompt in _prompts(tokenizer, samples, spec, results):
            ids = torch.tensor([prompt])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0)
            answers.append(str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)))
    return answers


def choose_plainly(
    folder: Path, samples: Sequence[dict[str, Any]], spec: PredictSpec, results: ResultFiles, dtype: str
) -> list[str]:
    """The labels that transformers' own ForSequenceClassification model gives, one prompt at a time."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return _likeliest(folder, _prompts(tokenizer, samples, spec, results), dtype)


def encode_plainly(folder: Path, texts: Sequence[str], length: int) -> list[str]:
    """The labels that transformers gives texts as an encoder takes them, at most `length` tokens of each."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)(
        list(texts), truncation=True, max_length=length
    )["input_ids"]
    return _likeliest(folder, ids, "float32")


def _likeliest(folder: Path, rows: Sequence[Sequence[int]], dtype: str) -> list[str]:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True
    ).eval()
    with torch.inference_mode():
        chosen = [int(model(input_ids=torch.tensor([ids])).logits[0].argmax()) for ids in rows]
    return [model.config.id2label[number] for number in chosen]


def _prompts(
    tokenizer: Any, samples: Sequence[dict[str, Any]], spec: PredictSpec, results: ResultFiles
) -> list[list[int]]:
    lists = label_lists(spec, results)
    prompter = Prompter(tokenizer, spec.prompt, lists, spec.generation.thinking)
    return [prompt.ids for prompt in make_prompts(prompter, list(samples), spec, results.data.train, lists)]
