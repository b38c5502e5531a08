"""Run the rehearsal's study through Snakemake, and print what each step took and what the whole study would take.

What is known so far is written to --output whenever a step ends: a run that is cut off loses nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import yaml

HOUSE = Path(__file__).parents[2]
sys.path.insert(0, str(HOUSE / "scripts"))

from measures import lines_of, process_files, summary  # noqa: E402

from slingshot.core.files import write_json  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="as build.py made it")
    parser.add_argument("targets", nargs="*", default=["results/report.html"])
    parser.add_argument("--memory-gb", type=float, help="hardware.memory_gb for the whole study, as on a smaller card")
    parser.add_argument("--cores", default="2", help="Snakemake's --cores (2)")
    parser.add_argument("--seconds", type=float, help="stop then, and print what was finished")
    parser.add_argument("--output", type=Path, help="also write it all as JSON")
    given = parser.parse_args()
    if (given.folder / "results").exists():
        parser.error(f"{given.folder}/results is there, and its finished steps would not run again: remove it")
    if given.memory_gb:
        limit_memory(given.folder / "config.yaml", given.memory_gb)
    sys.exit(run_study(given))


def limit_memory(config: Path, memory_gb: float) -> None:
    study = yaml.safe_load(config.read_text(encoding="utf-8"))
    study["hardware"] = {**study.get("hardware", {}), "memory_gb": memory_gb}
    config.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


def run_study(given: argparse.Namespace) -> int:
    """Run it as a user would, and take it down as it goes; returns Snakemake's exit code."""
    start = time.monotonic()
    command = [sys.executable, "-m", "snakemake", "--cores", given.cores, "--resources", "gpu=1"]
    command += ["--scheduler", "greedy", "--keep-going", "--snakefile", HOUSE / "Snakefile"]
    with subprocess.Popen([*command, "--directory", given.folder, "--", *given.targets]) as snakemake:
        watch(snakemake, given, start)
    found = summary(given.folder, time.monotonic() - start, given.memory_gb, finished=snakemake.returncode == 0)
    if given.output:
        write_json(given.output, found)
    print(*lines_of(found), sep="\n", flush=True)
    return snakemake.returncode


def watch(snakemake: subprocess.Popen[bytes], given: argparse.Namespace, start: float) -> None:
    """Until Snakemake ends: write down what each ended step left, and stop it when the time is over."""
    files, known = process_files(given.folder), 0
    while snakemake.poll() is None:
        time.sleep(0.5)
        seconds = time.monotonic() - start
        ended = sum(path.exists() for path in files)
        if given.output and ended > known:
            write_json(given.output, summary(given.folder, seconds, given.memory_gb, finished=False))
            known = ended
        if given.seconds and seconds > given.seconds:
            snakemake.kill()  # a model step ends with it: launch.py --lives-with


if __name__ == "__main__":
    main()
