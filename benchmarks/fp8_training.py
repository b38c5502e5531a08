"""What multiplying frozen weights in e4m3 does to learning: validation loss with it and without it, seed by seed.

    python benchmarks/rivals.py --shared ../shared/data --folder /tmp/rivals --data mts \\
        --targets results/data/train.parquet results/models/smollm2.json
    python benchmarks/fp8_training.py --study /tmp/rivals/mts --out loss.json --steps 200 --seeds 0 1 2

Runs scripts/finetune.py on a study's samples, once per seed and way, `--together` of them at a time; losses do not
depend on what else the card does. Needs a GPU with e4m3 products.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

LAST = 20  # steps whose training loss is averaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="a study with its data prepared and a model fetched")
    parser.add_argument("--arm", default="slm/smollm2")
    parser.add_argument("--out", type=Path, required=True, help="results, as JSON")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--together", type=int, default=3)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    given = parser.parse_args()
    runs = [(seed, fp8) for seed in given.seeds for fp8 in (False, True)]
    with ThreadPoolExecutor(given.together) as pool:
        rows = list(pool.map(lambda run: finetune(given, *run), runs))
    given.out.write_text(json.dumps(rows, indent=1))
    for row in rows:
        print(json.dumps(row))
    for fp8 in (False, True):
        losses = [row["validation_loss"] for row in rows if row["fp8"] is fp8 and "validation_loss" in row]
        mean = f"{sum(losses) / len(losses):.4f}" if losses else "none"
        print(f"{'e4m3' if fp8 else 'own type'}: mean validation loss of {len(losses)} runs {mean}")


def finetune(given: argparse.Namespace, seed: int, fp8: bool) -> dict[str, Any]:
    """One run; its validation loss at the end and its mean training loss of the last steps."""
    from slingshot.config.study import load_study
    from slingshot.study.steps import step_spec

    study = load_study(given.study / "config.yaml")
    spec = step_spec(study, given.study, "finetune", given.arm).model_dump(mode="json") | {"seed": seed}
    spec["finetune"] |= {"max_steps": given.steps, "evaluate_every": given.steps, "patience": None, "fp8": fp8}
    folder = given.study / f"fp8_training/{seed}-{'fp8' if fp8 else 'own'}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(json.dumps(spec))
    results = given.study / "results"
    command = [sys.executable, str(ROOT / "scripts/finetune.py"), "--spec", f"@{folder / 'spec.json'}"]
    command += ["--arm", given.arm, "--model", str(results / "models/smollm2.json")]
    for name, path in (
        ("labels", results / "data/labels.json"),
        ("train", results / "data/train.parquet"),
        ("validation", results / "data/validation.parquet"),
        ("adapter", folder / "adapter"),
        ("training", folder / "training.json"),
        ("log", folder / "log.jsonl"),
        ("record", folder / "record.json"),
    ):
        command += [f"--{name}", str(path)]
    command += ["--device", given.device, "--memory-gb", "12"]
    done = subprocess.run(command, capture_output=True, text=True)
    row: dict[str, Any] = {"seed": seed, "fp8": fp8}
    if done.returncode:
        return row | {"failed": done.stderr[-1500:]}
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    row["validation_loss"] = [one["validation_loss"] for one in log if "validation_loss" in one][-1]
    row["training_loss"] = sum(one["loss"] for one in log[-LAST:]) / len(log[-LAST:])
    return row | {"notes": json.loads((folder / "record.json").read_text()).get("notes")}


if __name__ == "__main__":
    main()
