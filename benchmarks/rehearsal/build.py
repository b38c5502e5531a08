"""Build a study at true size with nothing to download: random weights, dialogues in MedSynth's shape and length."""

from __future__ import annotations

import argparse
import csv
import random
import sys
from pathlib import Path

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

HOUSE = Path(__file__).parents[2]
sys.path[:0] = [str(HOUSE / "scripts"), str(HOUSE)]

from tests.tiny import byte_tokenizer  # noqa: E402

from slingshot import icd10  # noqa: E402

# As the models' config.json on the hub have them.
ARCHITECTURES = {
    "llama8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    "mistral7b": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32768,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
        "sliding_window": None,
    },
    "llama3b": {
        "model_type": "llama",
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": True,
    },
    "qwen3b": {
        "model_type": "qwen2",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
}
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
PROMPT_TOKENS = 420  # of the template and the instruction, at one token a byte


def build_model(name: str, folder: Path, tiny: bool) -> None:
    settings = {**ARCHITECTURES[name], **(TINY if tiny else {})}
    tokenizer = byte_tokenizer(TEMPLATES[name])
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(settings.pop("model_type"), **settings, **special)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def dialogue(words: random.Random, tokens: int) -> str:
    """Turns of made-up words, `tokens` bytes long."""
    turns = []
    while (length := sum(map(len, turns))) < tokens:
        said = " ".join("".join(words.choices("abcdefghilmnoprstuvw", k=words.randint(2, 9))) for _ in range(12))
        turns.append(f"[{'doctor' if len(turns) % 2 == 0 else 'patient'}] {said}.\n"[: tokens - length])
    return "".join(turns)


def write_dialogues(path: Path, share: float) -> None:
    """Lengths spread log-normally around MedSynth's mean; five rows a code."""
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


def write_config(folder: Path, tiny: bool) -> None:
    """The root's study with local sources."""
    config = yaml.safe_load((HOUSE / "config.yaml").read_text(encoding="utf-8"))
    config["data"]["source"] = {"path": "data/dialogues.csv"}
    for kind in ("llm", "slm"):
        for name, model in config[kind].items():
            model["name"] = model["source"]["hub"].split("/")[-1]
            model["source"] = {"folder": f"models/{name}"}
            if tiny:
                model.pop("quantization", None)
    config["report"] = {"title": "Rehearsal: random weights, true size; the scores mean nothing"}
    if tiny:
        config["hardware"] = {"device": "cpu"}
        config["finetune"] |= {"epochs": 1, "lora": {"r": 4, "alpha": 8}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts/icd10cm.yaml").write_bytes((HOUSE / "prompts/icd10cm.yaml").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the study, made")
    parser.add_argument("--share", type=float, default=0.1, help="of MedSynth's 10,240 rows (0.1)")
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--tiny", action="store_true", help="two narrow layers, for a dry run on a CPU")
    given = parser.parse_args()
    (given.folder / "data").mkdir(parents=True, exist_ok=True)
    write_dialogues(given.folder / "data/dialogues.csv", given.share)
    write_config(given.folder, given.tiny)
    for name in given.models:
        build_model(name, given.folder / "models" / name, given.tiny)
        print("built", name, flush=True)


if __name__ == "__main__":
    main()
