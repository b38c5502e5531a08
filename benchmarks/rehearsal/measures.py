"""What a run left about its steps, put together: time, memory, energy. GB and MB are 10^9 and 10^6 bytes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from projection import projected

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.records import ProcessRecord, StepRecord, read_process_record, read_step_record
from slingshot.config.arms import arms_of
from slingshot.config.study import load_study
from slingshot.core.files import read_json

# The phases that are work of the model; a step's record holds others, too. Evaluation is timed within training.
WORK = {"finetune": ("train", "evaluate"), "predict": ("prefill", "decode", "candidates", "generate")}
NO_PHASE = "until_first_answers"
IDLE_TOLERANCE_MB = 16  # the driver's own bookkeeping; a step's weights or caches would be hundreds


def summary(folder: Path, seconds: float, memory_gb: float | None, finished: bool) -> dict[str, Any]:
    """All that is known of a run so far."""
    share = read_json(folder / "rehearsal.json")["share"]
    results = folder / "results"
    steps = model_steps(folder, share)
    in_steps = sum(step["seconds"] for step in steps)
    rules = other_rules(results / "benchmarks")
    return {
        "finished": finished,
        "share": share,
        "memory_gb": memory_gb,
        "seconds": round(seconds, 1),
        "seconds_in_model_steps": round(in_steps, 1),
        "seconds_of_the_rest": round(seconds - in_steps, 1),
        "other_rules": rules,
        "energy_wh": rounded(sum(step["energy_wh"] or 0 for step in steps) or None, 2),
        "ledger": ledger(steps),
        "steps": steps,
    }


def model_steps(folder: Path, share: float) -> list[dict[str, Any]]:
    """A row per model step, in the order in which they ended."""
    rows: list[dict[str, Any]] = []
    ended_before = None
    ended_steps = filter(Path.exists, process_files(folder))
    for path in sorted(ended_steps, key=lambda path: path.stat().st_mtime):
        process = read_process_record(path)
        if process.exit_code:
            continue
        record = read_step_record(path.with_name(f"{process.step}.json"))
        ended = path.stat().st_mtime
        row = {"name": f"{process.step} {path.parent.relative_to(folder / 'results')}", **measures(process, record)}
        row["idle_before"] = None if ended_before is None else round(ended - process.seconds - ended_before, 1)
        row["projection"] = projected(process, record, row["phases"], path.parent, share)
        rows.append(row)
        ended_before = ended
    return rows


def process_files(folder: Path) -> list[Path]:
    """What language models' steps leave as they end: of every arm of the study, other seeds' and designs' too."""
    results = ResultFiles(folder / "results")
    arms = [results.arm(arm.path) for arm in arms_of(load_study(folder / "config.yaml")) if arm.generates]
    return [files.process(step) for arm in arms for files in (arm, arm.validation) for step in WORK]


def measures(process: ProcessRecord, record: StepRecord) -> dict[str, Any]:
    phases = phases_of(process, record)
    work = sum(phases.get(phase, 0.0) for phase in WORK[process.step])
    tokens = record.trained_tokens or record.prompt_tokens + record.new_tokens
    busy = phases.get("train") or work  # a finetune's tokens are those that it trains on
    return {
        "device": process.device or record.device,
        "seconds": round(process.seconds, 1),
        "phases": {phase: round(duration, 2) for phase, duration in phases.items()},
        "not_model_work": {
            phase: round(duration / process.seconds, 3)
            for phase, duration in phases.items()
            if phase not in WORK[process.step]
        },
        "share_not_model_work": round(1 - work / process.seconds, 3),
        "samples": record.samples,
        "tokens": tokens,
        "prompt_tokens_a_sample": round(record.prompt_tokens / record.samples) if record.prompt_tokens else None,
        "tokens_per_second": round(tokens / busy) if busy else None,
        "peak_allocated_gb": rounded(record.peak_allocated, 2, 1e9),
        "device_peak_gb": rounded(process.device_peak, 2, 1e9),
        "device_before_mb": rounded(process.device_before, 1, 1e6),
        "device_after_mb": rounded(process.device_after, 1, 1e6),
        "main_memory_gb": rounded(process.peak_resident, 2, 1e9),
        "energy_wh": rounded(process.energy_wh, 2),
        "token_budget": record.token_budget,
        "notes": record.notes,
    }


def phases_of(process: ProcessRecord, record: StepRecord) -> dict[str, float]:
    """Seconds by phase, none within another; the last is what the step did not time: imports, its start and its end."""
    phases = {phase: duration for phase, duration in record.seconds.items() if phase != NO_PHASE}
    if "evaluate" in phases:
        phases["train"] -= phases["evaluate"]
    return {**phases, "untimed": max(0.0, process.seconds - sum(phases.values()))}


def ledger(steps: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the device held between the steps' processes; None without a device."""
    idle = [step[when] for step in steps for when in ("device_before_mb", "device_after_mb")]
    if not idle or None in idle:
        return None
    return {
        "least_mb": min(idle),
        "most_mb": max(idle),
        "tolerance_mb": IDLE_TOLERANCE_MB,
        "the_same": max(idle) - min(idle) <= IDLE_TOLERANCE_MB,
    }


def other_rules(benchmarks: Path) -> dict[str, float]:
    """Seconds of each rule that runs no model, its jobs added up, as Snakemake timed them."""
    found: dict[str, float] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.parent.name if path.parent.name == "fetch_model" else path.stem
        if not rule.startswith(("finetune", "predict")):
            with path.open(encoding="utf-8") as lines:
                found[rule] = round(found.get(rule, 0.0) + float(next(csv.DictReader(lines, delimiter="\t"))["s"]), 1)
    return found


def rounded(value: float | None, digits: int, unit: float = 1) -> float | None:
    return None if value is None else round(value / unit, digits)


def lines_of(found: Mapping[str, Any]) -> list[str]:
    """The summary for people."""
    lines = []
    for step in found["steps"]:
        lines += lines_of_step(step)
    share, rest = found["share"], found["seconds_of_the_rest"]
    rules = ", ".join(f"{rule} {seconds} s" for rule, seconds in found["other_rules"].items())
    limit = f"{found['memory_gb']:g} GB" if found["memory_gb"] else "all of the device's memory"
    lines += [
        "" if found["finished"] else "NOT FINISHED: what follows counts what is done",
        f"the whole run at {share:g} of the data, with {limit}: {found['seconds']} s; in model steps "
        f"{found['seconds_in_model_steps']} s; the rest (Snakemake, data, scoring, report) {rest} s",
        f"jobs of the rest, some side by side: {rules}",
        f"energy of the model steps: {found['energy_wh']} Wh",
        line_of_ledger(found["ledger"]),
        *lines_of_projection(found),
    ]
    return lines


def lines_of_step(step: Mapping[str, Any]) -> list[str]:
    shown = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in step["phases"].items())
    besides = ", ".join(f"{phase} {part:.0%}" for phase, part in step["not_model_work"].items())
    memory = (
        f"{step['peak_allocated_gb']} GB allocated at most, {step['device_peak_gb']} GB on the device; "
        f"{step['device_before_mb']} MB before, {step['device_after_mb']} MB after"
        if step["device_peak_gb"] is not None
        else f"{step['main_memory_gb']} GB of main memory"
    )
    return [
        f"{step['name']}: {step['seconds']} s; {step['samples']} samples, {step['tokens']:,} tokens, "
        f"{step['tokens_per_second'] or 0:,} tokens/s; {step['energy_wh']} Wh",
        f"    {memory}; token budget {step['token_budget']}",
        f"    {shown}; {step['idle_before']} s between the last step's process and this one",
        f"    not model work: {step['share_not_model_work']:.0%} ({besides})",
        *(f"    note: {note}" for note in step["notes"]),
    ]


def line_of_ledger(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "memory ledger: no device"
    return (
        f"memory ledger: idle between {found['least_mb']} and {found['most_mb']} MB before and after every step: "
        f"{'the same' if found['the_same'] else 'NOT THE SAME'} within {found['tolerance_mb']} MB"
    )


def lines_of_projection(found: Mapping[str, Any]) -> list[str]:
    """The whole study by step, and the rest as a range."""
    steps, rest = found["steps"], found["seconds_of_the_rest"]
    total = sum(step["projection"]["seconds"] for step in steps)
    extra = sum(step["projection"]["seconds"] for step in steps if "/validation" in step["name"])
    most = sum(seconds for rule, seconds in found["other_rules"].items() if rule != "tfidf") / found["share"]
    device = steps[-1]["device"] if steps else "no device"
    return [
        "the whole study, projected; what a first answer or evaluation compiles counts as if it grew, too:",
        *(f"    {step['name']}: {step['projection']['sentence']}" for step in steps),
        f"    model steps {total:.0f} s, of which {extra:.0f} s answer the validation split (the ensemble's weights)",
        f"    the rest {rest:.0f} s if nothing grows; {most:.0f} s if all grows and its jobs run one after another, "
        "without tfidf, whose work is samples times labels",
        f"    together {(total + rest) / 3600:.2f} to {(total + max(rest, most)) / 3600:.2f} hours on {device}; "
        "the original: 2 to 3 hours on another card, an RTX 5090",
    ]
