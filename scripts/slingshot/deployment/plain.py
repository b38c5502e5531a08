"""Answers of an exported folder by transformers alone: its own model class, tokenizer, `generate` and prompt.yaml.

Nothing of the study has a part in it: what it gives of `plain_prompts` is what a reader of the folder gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slingshot.deployment.prompt_files import prompt_ids, read_exported_prompt


def write_plainly(folder: Path, prompts: Sequence[Sequence[int]], dtype: str) -> list[str]:
    """The raw answers of transformers' own `generate` to prompts, one at a time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False
    ).eval()
    answers = []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.tensor([prompt])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=0)
            answers.append(str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)))
    return answers


def choose_plainly(folder: Path, prompts: Sequence[Sequence[int]], dtype: str) -> list[str]:
    """The labels that transformers' own ForSequenceClassification model gives, one prompt at a time."""
    return _likeliest(folder, prompts, dtype)


def encode_plainly(folder: Path, texts: Sequence[str], length: int) -> list[str]:
    """The labels that transformers gives texts as an encoder takes them, at most `length` tokens of each."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)(
        list(texts), truncation=True, max_length=length
    )["input_ids"]
    return _likeliest(folder, ids, "float32")


def plain_prompts(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text's prompt."""
    from transformers import AutoTokenizer

    tokenizer, prompt = AutoTokenizer.from_pretrained(folder, trust_remote_code=False), read_exported_prompt(folder)
    return [prompt_ids(tokenizer, prompt, text) for text in texts]


def _likeliest(folder: Path, rows: Sequence[Sequence[int]], dtype: str) -> list[str]:
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype), use_safetensors=True
    ).eval()
    with torch.inference_mode():
        chosen = [int(model(input_ids=torch.tensor([ids])).logits[0].argmax()) for ids in rows]
    return [model.config.id2label[number] for number in chosen]
