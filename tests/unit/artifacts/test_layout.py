"""Where a study's files lie, and that knowing it costs no heavy import."""

import re
import subprocess
import sys
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles, ResultFiles

SCRIPTS = Path(__file__).parents[3] / "scripts"
NAMES = (
    "predictions.jsonl",
    "metrics.json",
    "training.json",
    "training_log.jsonl",
    "adapter_model.safetensors",
    "adapter_config.json",
    "predict.json",
    "finetune.json",
    ".process.json",
)


def test_paths_are_those_of_the_contract():
    results = ResultFiles(Path("results"))
    arm = results.arm("slm/qwen3b/seed1")
    assert arm.adapter_weights.as_posix() == "results/slm/qwen3b/seed1/adapter/adapter_model.safetensors"
    assert arm.validation.predictions.as_posix() == "results/slm/qwen3b/seed1/validation/predictions.jsonl"
    assert arm.process("predict").as_posix() == "results/slm/qwen3b/seed1/predict.process.json"
    assert arm.shard(2, 3).record("predict").as_posix() == "results/slm/qwen3b/seed1/shards/2-of-3/predict.json"
    assert results.data.split("test") == results.data.test
    assert results.cache("qwen3b", "1-of-2").as_posix() == "results/cache/qwen3b.1-of-2.sqlite"
    assert isinstance(arm.validation, ArmFiles)


def test_no_file_name_of_an_arm_stands_anywhere_else():
    """In code: docstrings, comments, help texts and messages may name a file."""
    found = []
    for path in [*SCRIPTS.rglob("*.py"), *(SCRIPTS.parent / "workflow").rglob("*.smk"), SCRIPTS.parent / "Snakefile"]:
        if path.name == "layout.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "help=" in line:
                continue
            strings = re.findall(r"[\"']([^\"']*)[\"']", line)
            if any(text.split("/")[-1] in NAMES for text in strings):
                found.append(f"{path.relative_to(SCRIPTS.parent)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_artifacts_import_nothing_heavy():
    heavy = ["sklearn", "scipy", "statsmodels", "pandas", "torch"]
    modules = sorted(path.stem for path in (SCRIPTS / "slingshot/artifacts").glob("*.py") if path.stem != "__init__")
    code = "; ".join(f"import slingshot.artifacts.{name}" for name in modules)
    code += f"; import sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
