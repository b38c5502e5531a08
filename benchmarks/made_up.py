"""Random models and made-up dialogues, as earlier steps leave them, for benchmarks that run a step's own program."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CODES = 500


def write_model(model: Any, tokenizer: Path, folder: Path, card: Path) -> int:
    """Save a random model with a tokenizer's files, and its card; returns its parameters."""
    from slingshot.artifacts.model_card import ModelCard

    model.save_pretrained(folder, max_shard_size="2GB")
    for file in tokenizer.iterdir():  # a folder of a whole model has a config of its own
        if not (folder / file.name).exists() and file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    parameters = sum(weight.numel() for weight in model.parameters())
    ModelCard(
        name="random",
        source={"folder": str(folder)},
        revision="random",
        folder=str(folder),
        files={file.name: "" for file in folder.iterdir()},
        parameters=parameters,
        layers=model.config.num_hidden_layers,
        architecture=type(model).__name__,
    ).write(card)
    return parameters


def write_samples(path: Path, tokenizer: Path, lengths: Sequence[int], described_in: int = 0, seed: int = 4) -> None:
    """A split of samples, and beside it the labels of them all, labels.json.

    Args:
        tokenizer: folder of a byte-pair tokenizer; most of the words drawn from it are one token.
        lengths: words of each dialogue.
        described_in: words of each code's description.
    """
    import pyarrow
    import pyarrow.parquet

    from slingshot.core.files import write_json
    from slingshot.data import icd10

    vocabulary = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    words = sorted(word[1:] for word in vocabulary if word[0] == "Ġ" and word[1:].isascii() and word[1:].isalpha())
    codes = sorted(random.Random(0).sample(list(icd10.all_labels("code")), CODES))
    draw = random.Random(1)
    descriptions = {code: " ".join(draw.choices(words, k=described_in)) for code in codes}
    draw = random.Random(seed)
    labels = draw.choices(codes, k=len(lengths))
    rows = {
        "sample_id": [f"{path.stem}{number}" for number in range(len(lengths))],
        "text": [" ".join(draw.choices(words, k=length)) for length in lengths],
        "label": labels,
        "description": [descriptions[label] for label in labels],
    }
    pyarrow.parquet.write_table(pyarrow.table(rows), path)
    nothing = {"category": None, "block": None, "chapter": None, "billable": None, "train_samples": 1}
    described = [{"label": code, "description": description, **nothing} for code, description in descriptions.items()]
    write_json(path.parent / "labels.json", described)


def with_bytecode(folder: Path) -> dict[str, str]:
    """An environment in which Python keeps the bytecode of what it imports under `folder`, where packages lack it.

    pip compiles what it installs; an image whose packages were only copied pays for that in every process.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
