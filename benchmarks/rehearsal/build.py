"""Build a study at true size with nothing to download: random weights, dialogues in MedSynth's shape and length."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

HOUSE = Path(__file__).parents[2]
sys.path[:0] = [str(HOUSE / "scripts"), str(HOUSE / "benchmarks"), str(HOUSE)]

from architectures import ARCHITECTURES, shape_of  # noqa: E402
from tests.tiny import byte_tokenizer  # noqa: E402

from slingshot.data import icd10  # noqa: E402

TEMPLATES = {"llama8b": "llama3", "mistral7b": "mistral", "llama3b": "llama3", "qwen3b": "chatml"}
TINY = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
}

ROWS, CODES, MEAN_TOKENS, LONGEST = 10_240, 2_001, 1_170, 2_300  # MedSynth's
PROMPT_TOKENS = 341  # of template and instruction, at one token per byte: 321 to 349 by model


def main() -> None:
    given = parse_arguments()
    (given.folder / "data").mkdir(parents=True, exist_ok=True)
    weights = (given.weights or given.folder / "models").resolve()
    (given.folder / "config.yaml").write_text(yaml.safe_dump(config_of(given, weights), sort_keys=False))
    (given.folder / "rehearsal.json").write_text(json.dumps({"share": given.share}))
    (given.folder / "prompts").mkdir(exist_ok=True)
    (given.folder / "prompts/icd10cm.yaml").write_bytes((HOUSE / "prompts/icd10cm.yaml").read_bytes())
    with ProcessPoolExecutor(given.processes, multiprocessing.get_context("fork")) as builders:
        missing = [name for name in given.models if not (weights / name).exists()]
        waited_for = [builders.submit(build_model, name, weights / name, given.tiny) for name in missing]
        write_dialogues(given.folder / "data/dialogues.csv", given.share)
        for name, made in zip(missing, waited_for, strict=True):
            print(f"built {name} in {made.result():.1f} s", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study, made")
    parser.add_argument("--share", type=float, default=0.1, help="of MedSynth's 10,240 rows (0.1)")
    parser.add_argument("--models", nargs="+", choices=TEMPLATES, default=list(TEMPLATES))
    parser.add_argument("--weights", type=Path, help="the models' folder of an earlier build, used where it lies")
    parser.add_argument("--processes", type=int, default=1, help="models built at the same time (1)")
    parser.add_argument("--epochs", type=int, default=3, help="of the finetunes; the whole study has 3")
    parser.add_argument("--test-only", action="store_true", help="the arms do not answer the validation split, too")
    parser.add_argument("--tiny", action="store_true", help="two narrow layers, for a dry run on a CPU")
    return parser.parse_args()


def config_of(given: argparse.Namespace, weights: Path) -> dict[str, Any]:
    """The root's study with local sources and the chosen models."""
    config: dict[str, Any] = yaml.safe_load((HOUSE / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["source"] = {"path": "data/dialogues.csv"}
    for kind in ("llm", "slm"):
        config[kind] = {name: model for name, model in config[kind].items() if name in given.models}
        for name, model in config[kind].items():
            model.setdefault("name", model["source"]["hub"].split("/")[-1])
            model["source"] = {"folder": str(weights / name)}
            if given.tiny:
                model.pop("quantization", None)
    seeds = config["designs"]["seeds"]
    seeds["models"] = [name for name in seeds["models"] if name in given.models]
    config["finetune"]["epochs"] = given.epochs
    config["report"] = {"title": "Rehearsal: random weights, true size; the scores mean nothing"}
    if given.test_only:
        config["answering"] = {"ensemble_weights": "equal"}
    if given.tiny:
        config["hardware"] = {"device": "cpu"}
        config["finetune"]["lora"] = {"r": 4, "alpha": 8}
    return config


def build_model(name: str, folder: Path, tiny: bool) -> float:
    """Random weights, made where there is a GPU on it, in shards that can be hashed side by side; returns seconds."""
    start = time.perf_counter()
    tokenizer = byte_tokenizer(TEMPLATES[name])
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    shape = shape_of(name, **(TINY if tiny else {}), **special)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        config = AutoConfig.for_model(ARCHITECTURES[name]["model_type"], **shape)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    unfinished = folder.with_name(f".{name}")
    model.save_pretrained(unfinished, max_shard_size="2GB")
    tokenizer.save_pretrained(unfinished)
    unfinished.rename(folder)
    return time.perf_counter() - start


def write_dialogues(path: Path, share: float) -> None:
    """Lengths spread log-normally around MedSynth's mean; five rows per code."""
    words = random.Random(0)
    billable = [code for code in icd10.all_labels() if (entry := icd10.find(code)) and entry.billable]
    codes = words.sample(billable, max(2, round(CODES * share)))
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["Note", "Dialogue", "ICD10", "ICD10_desc"])
        for row in range(round(ROWS * share)):
            code = codes[row % len(codes)]
            tokens = min(LONGEST, max(300, round(words.lognormvariate(0, 0.25) * MEAN_TOKENS * 0.97)))
            entry = icd10.find(code)
            assert entry is not None
            writer.writerow(["", dialogue(words, tokens - PROMPT_TOKENS), code, entry.description.upper()])


def dialogue(words: random.Random, tokens: int) -> str:
    """Turns of made-up words, `tokens` bytes long."""
    turns: list[str] = []
    while (length := sum(map(len, turns))) < tokens:
        sentence = " ".join(made_up(words) for _ in range(12))
        turns.append(f"[{'doctor' if len(turns) % 2 == 0 else 'patient'}] {sentence}.\n"[: tokens - length])
    return "".join(turns)


def made_up(words: random.Random, letters: Sequence[str] = "abcdefghilmnoprstuvw") -> str:
    return "".join(words.choices(letters, k=words.randint(2, 9)))


if __name__ == "__main__":
    main()
