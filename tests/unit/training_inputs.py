"""A tiny study to finetune on: a random model's folder and card, train and validation samples, a spec."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pandas as pd
import torch

from slingshot.artifacts.model_card import ModelCard
from slingshot.config.recipe import Finetune, Lora
from slingshot.config.specs import FinetuneSpec, PromptText
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.training.batches import Sample
from tests.tiny import byte_tokenizer
from tests.unit.tiny_models import tiny_model

PROGRAM = Path(__file__).parents[2] / "scripts" / "finetune.py"
CODES = {"A047": "gut infection", "J069": "cold", "I10": "high pressure"}


def random_samples(count: int, seed: int = 0, vocabulary: int = 97) -> list[Sample]:
    """Samples of unequal length, of random tokens."""
    draw = random.Random(seed)

    def some(least: int, most: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, vocabulary) for _ in range(draw.randint(least, most)))

    return [Sample(f"sample{index}", some(4, 30), some(1, 5), False) for index in range(count)]


def write_study(folder: Path, samples: int = 24, family: str = "llama") -> None:
    """The files that finetune.py reads."""
    model = tiny_model(family, vocab_size=300).to(torch.bfloat16)
    model.save_pretrained(folder / "model")
    byte_tokenizer("chatml").save_pretrained(folder / "model")
    files = {path.name: digest_of_file(path) for path in (folder / "model").iterdir()}
    card = ModelCard(
        name="tiny",
        source={"folder": "model"},
        revision=digest_of_text(json.dumps(files, sort_keys=True)),
        folder="model",
        files=files,
        parameters=sum(weight.numel() for weight in model.parameters()),
        layers=3,
        architecture=type(model).__name__,
    )
    card.write(folder / "card.json")
    draw = random.Random(0)
    rows = []
    for index in range(samples):
        label = draw.choice(list(CODES))
        text = f"{index}: {CODES[label]} " + "very bad " * draw.randint(0, 6)
        rows.append({"sample_id": digest_of_text(text)[:16], "text": text, "label": label, "description": CODES[label]})
    pd.DataFrame(rows[: samples * 2 // 3]).to_parquet(folder / "train.parquet")
    pd.DataFrame(rows[samples * 2 // 3 :]).to_parquet(folder / "validation.parquet")
    (folder / "labels.json").write_text(json.dumps([{"label": label, "train_samples": 1} for label in CODES]))


def spec(**changed: object) -> FinetuneSpec:
    """A short run; keys of `finetune` can be changed."""
    recipe = {
        "epochs": 2,
        "learning_rate": 1e-2,
        "batch_size": 4,
        "max_tokens": 200,
        "evaluate_every": 3,
        "lora": Lora(r=4, alpha=8, dropout=0.1),
    }
    return FinetuneSpec(
        quantization="none",
        unquantized_without_gpu=False,
        dtype="bfloat16",
        prompt=PromptText(system="Code it.", user="{{ text }}", answer="code", max_tokens=200),
        finetune=Finetune(**{**recipe, **changed}),
        max_new_tokens=None,
        seed=7,
    )


def paths(folder: Path, out: str = "out") -> dict[str, Path]:
    """Where finetune reads and writes."""
    made = folder / out
    return {
        "model": folder / "card.json",
        "labels": folder / "labels.json",
        "train": folder / "train.parquet",
        "validation": folder / "validation.parquet",
        "adapter": made / "adapter",
        "training": made / "training.json",
        "log": made / "training_log.jsonl",
        "record": made / "finetune.json",
    }


def command(folder: Path, out: str, wanted: FinetuneSpec, *more: str) -> list[str]:
    """finetune.py's command line."""
    named = [part for name, path in paths(folder, out).items() for part in (f"--{name}", str(path))]
    return [
        *(sys.executable, str(PROGRAM), "--arm", "slm/tiny", "--device", "cpu", "--spec", wanted.model_dump_json()),
        *named,
        *more,
    ]
