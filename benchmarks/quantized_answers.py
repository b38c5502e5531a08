"""What 8-bit and 4-bit weights change: answers of one finetuned model in bf16, fp8 and NF4, on the same test split.

    python benchmarks/quantized_answers.py --study /tmp/rivals/mts --arm slm/smollm2 --folder /tmp/quantized

`--study` is a finished study (benchmarks/rivals.py makes some). Its arm's adapter is merged, and a new study on the
same data lets the merged network answer untrained under each quantization. Printed: exact match with interval per
quantization, how many answers differ from bf16's, and the paired difference.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.artifacts.predictions import read_predictions  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="a finished study")
    parser.add_argument("--arm", default="slm/smollm2")
    parser.add_argument("--folder", type=Path, required=True, help="where the new study is written and run")
    parser.add_argument("--quantizations", nargs="+", default=["none", "fp8", "nf4"], help="none, the first, is bf16")
    given = parser.parse_args()
    write_study(given.study, given.arm, given.folder, given.quantizations)
    environment = {**os.environ, "SLINGSHOT_LOCKS": str(given.folder.resolve() / "locks")}
    command = [sys.executable, "-m", "snakemake", "--directory", str(given.folder), "--resources", "gpu=1"]
    subprocess.run([*command, "--cores", "1", "--", "results/report.html"], cwd=HOUSE, check=True, env=environment)
    print("\n".join(table(given.folder, given.quantizations)))


def write_study(study: Path, arm: str, folder: Path, quantizations: list[str]) -> None:
    """A study of the merged network under each quantization, on the data of the finished one."""
    folder.mkdir(parents=True, exist_ok=True)
    card = next(path for path in (study / "results/models").glob("*.json") if path.stem == arm.split("/")[1])
    merged = folder / "merged"
    if not merged.exists():
        words = ["--model", card, "--adapter", study / "results" / arm / "adapter", "--merged", merged]
        subprocess.run([sys.executable, HOUSE / "scripts/merge_adapter.py", *map(str, words)], check=True)
    for link in study.iterdir():
        if link.name not in ("results", "config.yaml") and not link.name.startswith("."):
            (folder / link.name).unlink(missing_ok=True)
            (folder / link.name).symlink_to(link.resolve())
    config = yaml.safe_load((study / "config.yaml").read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("data", "prompt", "generation", "hardware")}
    source = {"folder": "merged"}
    arms = {
        quantization if quantization != "none" else "bf16": {
            **{"source": source, "size": "135M", "name": f"merged, {quantization}"},
            **{"quantization": quantization, "dtype": "bfloat16"},
        }
        for quantization in quantizations
    }
    kept["baseline"] = {"tfidf": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(kept | {"llm": arms, "slm": {}}, sort_keys=False))


def table(folder: Path, quantizations: list[str]) -> list[str]:
    comparison = json.loads((folder / "results/comparison.json").read_text(encoding="utf-8"))
    names = [each if each != "none" else "bf16" for each in quantizations]
    answers = {
        name: {row.sample_id: row.raw for row in read_predictions(folder / "results/llm" / name / "predictions.jsonl")}
        for name in names
    }
    scores = {arm["arm"]: arm["scores"]["exact_match"] for arm in comparison["arms"]}
    lines = ["| quantization | exact match, % | answers that differ from bf16's |", "| --- | --- | --- |"]
    for name in names:
        score = scores[f"llm/{name}"]
        differ = sum(answers[name][key] != answers["bf16"][key] for key in answers["bf16"])
        shown = f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"
        lines.append(f"| {name} | {shown} | {differ} of {len(answers['bf16'])} |")
    for pair in comparison["comparisons"]:
        gap = pair["difference"]
        lines.append(
            f"{pair['first']} - {pair['second']}: {100 * gap['value']:+.1f} "
            f"[{100 * gap['low']:+.1f}, {100 * gap['high']:+.1f}]"
        )
    return lines


if __name__ == "__main__":
    main()
