"""A study small enough to run whole in a test: two large and two small models, made on the spot, on the CPU.

The networks are random (two layers of width 16), so their answers mean nothing; that each step is run, rerun,
killed and resumed does not depend on it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HOUSE = Path(__file__).parents[2]
REVISION = "1" * 40
OTHER_REVISION = "2" * 40
FINDINGS = {
    "I10": ("Essential (primary) hypertension", "my blood pressure was high again at the pharmacy"),
    "E119": ("Type 2 diabetes mellitus without complications", "I am thirsty all day and my sugar is up"),
    "J069": ("Acute upper respiratory infection, unspecified", "I have a runny nose and a sore throat"),
    "M545": ("Low back pain", "my lower back hurts when I lift anything"),
}
WORDS = (
    "morning", "evening", "week", "month", "garden", "office", "stairs", "shower", "dinner",
    "train", "dog", "pillow", "window", "coffee", "letter",
)  # fmt: skip


def write_study(folder: Path) -> None:
    """Write config.yaml, prompt, dialogues, models, and a hub's cache that holds one of the models twice."""
    folder.mkdir(parents=True)
    (folder / "prompt.yaml").write_text("system: Name the code.\nuser: '{{ text }} {{ answer_form }}'\n")
    (folder / "dialogues.csv").write_text("text,label,description\n" + "".join(_dialogues(72)))
    for number, name in enumerate(("b", "c", "d", "e")):
        _write_model(folder / "models" / name, seed=number)
    for revision, seed in ((REVISION, 7), (OTHER_REVISION, 8)):
        _write_model(folder / "hub" / "models--house--a" / "snapshots" / revision, seed)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(), sort_keys=False))


def config() -> dict:
    """The study's config, to be changed and written again."""
    return {
        "data": {
            "source": {"path": "dialogues.csv"},
            "columns": {"description": "description"},
            "labels": "plain",
            "split": {"train": 0.5, "validation": 0.25, "test": 0.25, "seed": 1, "near_duplicate_similarity": None},
        },
        "prompt": {"file": "prompt.yaml", "max_tokens": 160},
        "generation": {"max_new_tokens": 5},
        "finetune": {
            "max_steps": 6,
            "learning_rate": 0.01,
            "weight_decay": 0.02,
            "batch_size": 4,
            "max_tokens": 160,
            "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
            "evaluate_every": 3,
        },
        "hardware": {
            "device": "cpu",
            "token_budget": 1024,
            "mem_mb": 2000,
            "runtime_minutes": 10,
            "checkpoint_steps": 4,
            "tensorboard": True,
        },
        "llm": {
            "a": {"source": {"hub": "house/a", "revision": REVISION}, "size": "20K", "dtype": "float32"},
            "b": {"source": {"folder": "models/b"}, "size": "20K", "dtype": "float32"},
        },
        "slm": {
            "c": {"source": {"folder": "models/c"}, "size": "10K", "dtype": "float32"},
            "d": {"source": {"folder": "models/d"}, "size": "10K", "dtype": "float32"},
        },
        "statistics": {"resamples": 100},
    }


def snakemake(
    folder: Path, *words: str, house: Path = HOUSE, terminal: bool = False, **variables: str
) -> subprocess.Popen[str]:
    """Start Snakemake on the study in `folder`, with the Snakefile of `house`, as a user would.

    Args:
        terminal: in a process group of its own, as a shell does it: Ctrl-C is a signal to that group.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(folder / "hub"),
        "OMP_NUM_THREADS": "1",
        "SLINGSHOT_LOCKS": str(folder / "locks"),
        **variables,
    }
    command = ["snakemake", "--snakefile", str(house / "Snakefile"), "--directory", str(folder), *words]
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        start_new_session=terminal,
    )


def run(folder: Path, *words: str, seconds: float = 300, house: Path = HOUSE, **variables: str) -> tuple[int, str]:
    """Run Snakemake to its end: exit code, and all that it said."""
    process = snakemake(folder, *words, house=house, **variables)
    try:
        output = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, output


def program(command: str) -> subprocess.CompletedProcess[str]:
    """Run `scripts/PROGRAM ...` as a user would, in the repository's root, with a shell's quoting."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, *shlex.split(command)]
    return subprocess.run(words, cwd=HOUSE, env=environment, capture_output=True, text=True, timeout=120, check=False)


def planned(folder: Path, *words: str, house: Path = HOUSE, **variables: str) -> dict[str, str]:
    """The jobs that a dry run lists, by name (`finetune slm/c`), each with the reason that it gives."""
    code, output = run(folder, "--dry-run", *words, house=house, **variables)
    assert code == 0, output[-3000:]
    jobs = {}
    for name, block in re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", output, flags=re.MULTILINE):
        wildcards = re.search(r"^    wildcards: (?:arm|model)=(\S+)", block, flags=re.MULTILINE)
        reason = re.search(r"^    reason: (.*)$", block, flags=re.MULTILINE)
        if name != "all":
            jobs[f"{name} {wildcards[1]}" if wildcards else name] = reason[1] if reason else ""
    return jobs


def _dialogues(count: int) -> list[str]:
    """Lines of a CSV, each dialogue in words of its own."""
    lines = []
    for number in range(count):
        label, (description, complaint) = list(FINDINGS.items())[number % len(FINDINGS)]
        first, second = WORDS[number % 15], WORDS[(number * 7 + 3) % 15]
        text = f"Doctor: what is it? Patient: since the {first} {complaint} {number} times, by the {second}."
        lines.append(f'"{text}",{label},"{description}"\n')
    return lines


def _write_model(folder: Path, seed: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests.tiny import byte_tokenizer

    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    shape = AutoConfig.for_model(
        "qwen2",
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(shape, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def copy(study: Path, to: Path) -> Path:
    """Copy a study with all that Snakemake remembers of it, time stamps included."""
    shutil.copytree(study, to, symlinks=True)
    return to


def digests(folder: Path, *patterns: str) -> dict[str, str]:
    """SHA-256 of the study's files that match."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }
