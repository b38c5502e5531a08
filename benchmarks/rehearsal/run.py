"""Run the rehearsal's study through Snakemake and print what each step took."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.records import read_process_record, read_step_record  # noqa: E402

MODEL_WORK = {"finetune": ("train", "evaluate"), "predict": ("generate", "prefill", "decode", "candidates")}
GB = 1e9


def run_study(folder: Path, targets: list[str], memory_gb: float | None) -> float:
    """Seconds of the whole run, as a user would start it."""
    config = folder / "config.yaml"
    text = config.read_text(encoding="utf-8")
    if memory_gb:
        config.write_text(f"{text}\nhardware: {{memory_gb: {memory_gb}}}\n", encoding="utf-8")
    start = time.perf_counter()
    try:
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", "--resources", "gpu=1", "--scheduler", "greedy",
             "--snakefile", HOUSE / "Snakefile", "--directory", folder, "--keep-going", "--", *targets],
            check=False,
        )  # fmt: skip
    finally:
        config.write_text(text, encoding="utf-8")
    return time.perf_counter() - start


def rows(results: Path) -> list[dict[str, Any]]:
    """A row a model step, in the order in which they ended."""
    found = []
    for path in sorted(results.rglob("*.process.json"), key=lambda path: path.stat().st_mtime):
        process = read_process_record(path)
        record = read_step_record(path.with_name(path.name.replace(".process", "")))
        work = sum(record.seconds.get(phase, 0) for phase in MODEL_WORK[process.step]) or None
        tokens = record.trained_tokens or record.prompt_tokens + record.new_tokens
        found.append(
            {
                "step": process.step,
                "arm": process.arm,
                "seconds": round(process.seconds, 1),
                "phases": record.seconds,
                "not_model_work": round(1 - work / process.seconds, 3) if work else None,
                "samples": record.samples,
                "tokens": tokens,
                "tokens_per_second": round(tokens / work) if work else None,
                "peak_allocated_gb": record.peak_allocated and round(record.peak_allocated / GB, 2),
                "device_peak_gb": process.device_peak and round(process.device_peak / GB, 2),
                "device_before_mb": process.device_before and round(process.device_before / 1e6),
                "device_after_mb": process.device_after and round(process.device_after / 1e6),
                "energy_wh": process.energy_wh and round(process.energy_wh, 2),
                "token_budget": record.token_budget,
                "notes": record.notes,
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="as build.py made it")
    parser.add_argument("targets", nargs="*", default=["results/report.html"])
    parser.add_argument("--memory-gb", type=float, help="hardware.memory_gb for the whole study")
    parser.add_argument("--output", type=Path, help="also write the rows as JSON")
    given = parser.parse_args()
    seconds = run_study(given.folder, given.targets, given.memory_gb)
    steps = rows(given.folder / "results")
    summary = {"seconds": round(seconds, 1), "memory_gb": given.memory_gb, "steps": steps}
    if given.output:
        given.output.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    for step in steps:
        print({key: value for key, value in step.items() if key not in ("phases", "notes")})
        print("   ", step["phases"], *step["notes"], sep="  ")
    print(f"the whole run: {seconds:.1f} s, of which model steps {sum(step['seconds'] for step in steps):.1f} s")


if __name__ == "__main__":
    main()
