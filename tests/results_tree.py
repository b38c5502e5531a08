"""Builds a results/ folder as a study leaves it, from simulated answers: for tests of what reads one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from slingshot.analysis.compare import compare
from slingshot.analysis.outcomes import read_outcomes
from slingshot.analysis.scoring import score_arm
from slingshot.analysis.set_scoring import score_sets
from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.metrics import write_metrics
from slingshot.artifacts.predictions import Candidate, Prediction, set_fields, write_predictions
from slingshot.artifacts.records import ProcessRecord, StepRecord
from slingshot.artifacts.splits import read_split
from slingshot.config.arms import ORIGINS, Arm
from slingshot.config.reporting import Cost, Report, Statistics
from slingshot.config.specs import CompareSpec, ReportSpec, ScoreSpec
from slingshot.core.files import read_json, write_json, write_jsonl
from slingshot.core.hashing import digest_of_file
from slingshot.data.power import describe_power

HOSTILE = "<script>window.hacked = true</script></script><img src=x onerror='window.hacked=true'>&\u2028\"'{{7*7}}"

# code, description, chapter; categories, blocks and chapters as in ICD-10-CM
SPLITS = ("train", "validation", "test")
CODES = [
    ("A047", "Enterocolitis due to Clostridium difficile", "A04", "A00-A09", "1"),
    ("A090", "Infectious gastroenteritis and colitis", "A09", "A00-A09", "1"),
    ("E119", "Type 2 diabetes mellitus without complications", "E11", "E08-E13", "4"),
    ("E1165", "Type 2 diabetes mellitus with hyperglycemia", "E11", "E08-E13", "4"),
    ("F329", "Major depressive disorder, single episode", "F32", "F30-F39", "5"),
    ("G4733", "Obstructive sleep apnea", "G47", "G40-G47", "6"),
    ("I10", "Essential (primary) hypertension", "I10", "I10-I1A", "9"),
    ("I2510", "Atherosclerotic heart disease of native coronary artery", "I25", "I20-I25", "9"),
    ("J069", "Acute upper respiratory infection", "J06", "J00-J06", "10"),
    ("J189", "Pneumonia, unspecified organism", "J18", "J09-J18", "10"),
    ("K219", "Gastro-esophageal reflux disease without esophagitis", "K21", "K20-K31", "11"),
    ("M545", "Low back pain", "M54", "M50-M54", "13"),
    ("N390", "Urinary tract infection, site not specified", "N39", "N30-N39", "14"),
]
SENTENCES = (
    "Doctor: Good morning, what brings you in today?",
    "Patient: I have been feeling unwell for about {days} days now.",
    "Doctor: Do you have a fever, or any chills at night?",
    "Patient: A little warm on day {days}, and I sleep badly.",
    "Doctor: Any medication that you take regularly, or allergies?",
    "Patient: Only {days} mg of something for my blood pressure.",
    "Doctor: I would like to run a few tests, and see you again in {days} days.",
    "Patient: My mother had the same when she was {days} years old.",
)


@dataclass(frozen=True)
class Contender:
    """An arm to simulate: its path, the model's size and how often it is right."""

    path: str
    name: str
    size: str | None
    skill: float

    @property
    def arm(self) -> Arm:
        kind, model, *rest = self.path.split("/")
        return Arm(kind=kind, model=model, variant=rest[0] if rest else None, finetuned=kind != "llm")  # type: ignore[arg-type]


CONTENDERS = (
    Contender("llm/llama8b", "Meta-Llama-3.1-8B-Instruct", "8B", 0.52),
    Contender("llm/mistral7b", "Mistral-7B-Instruct-v0.3", "7B", 0.41),
    Contender("slm/llama3b", "Llama-3.2-3B-Instruct", "3B", 0.66),
    Contender("slm/qwen3b", "Qwen2.5-3B-Instruct", "3B", 0.70),
    Contender("baseline/tfidf", "tfidf", None, 0.45),
)


@dataclass
class Tree:
    """A results folder and the spec that its report is written from."""

    folder: Path
    spec: ReportSpec
    samples: list[dict[str, Any]]
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)


def build(
    folder: Path,
    samples: int = 200,
    contenders: Sequence[Contender] = CONTENDERS,
    seed: int = 1,
    sentences: int = 8,
    gpu: bool = True,
    hostile: bool = False,
    report: Report | None = None,
    several: bool = False,
) -> Tree:
    """Write results/ with everything that precedes score and compare; `several`: samples have sets of labels."""
    random_ = random.Random(seed)
    rows = [_sample(random_, number, sentences) for number in range(samples)]
    for row in rows if several else ():
        row["labels"] = random_.sample([code for code, *_ in CODES], random_.randint(1, 4))
        row["label"] = ";".join(row["labels"])
    if hostile:
        rows[0] |= {"text": HOSTILE + rows[0]["text"], "description": HOSTILE}
    spec = ReportSpec(
        report=report or Report(),
        statistics=Statistics(resamples=200),
        cost=Cost(gpu_hour_price=2.5 if gpu else None),
        arms=[one.arm for one in contenders],
        config={"data": {"source": {"hub": "Ahmad0067/MedSynth"}}, "remark": HOSTILE if hostile else "none"},
        several=several,
    )
    tree = Tree(folder, spec, rows)
    _write_data(tree)
    for contender in contenders:
        _write_arm(tree, contender, random_, gpu, hostile)
    return tree


def finish(tree: Tree, contenders: Sequence[Contender] = CONTENDERS) -> None:
    """Score and compare the arms, as the programs score and compare do."""
    test, labels = read_split(tree.folder / "data/test.parquet"), read_labels(tree.folder / "data/labels.json")
    statistics = tree.spec.statistics
    for one in contenders:
        arm = one.arm
        spec = ScoreSpec(
            arm=arm.path,
            model_type=ORIGINS[arm.kind].model_type,
            model_name=one.name,
            model_size=one.size,
            training_status="finetuned" if arm.finetuned else "untrained",
            labels="icd10cm",
            level="code",
            statistics=statistics,
            several=tree.spec.several,
        )
        training = tree.folder / arm.path / "training.json"
        summary = read_json(training) if training.exists() else None
        predictions = tree.predictions[arm.path]
        provenance = {"predictions": digest_of_file(tree.folder / arm.path / "predictions.jsonl"), "test": "f" * 64}
        score = score_sets if tree.spec.several else score_arm
        scores = score(spec, predictions, test, labels, summary, provenance)
        write_metrics(tree.folder / arm.path / "metrics.json", scores)
    arms = [one.arm for one in contenders]
    keys = {arm.path: arm.path for arm in arms}
    compared = CompareSpec(
        arms=arms,
        result_keys=keys,
        ensemble_weights="equal",
        statistics=statistics,
        cost=tree.spec.cost,
        several=tree.spec.several,
    )
    outcomes, missing = read_outcomes(compared, tree.folder, allow_missing=False)
    compare(compared, outcomes, missing, test, labels).write(tree.folder / "comparison.json")


def _sample(random_: random.Random, number: int, sentences: int) -> dict[str, Any]:
    code, description, category, block, chapter = random_.choice(CODES)
    turns = "\n".join(random_.choice(SENTENCES).format(days=random_.randint(2, 90)) for _ in range(sentences))
    return {
        "sample_id": f"{number:016x}",
        "text": f"{turns}\nPatient: It began as {description.lower()}, they told me.",
        "label": code,
        "description": description,
        "category": category,
        "block": block,
        "chapter": chapter,
        "code": code,
        "group": f"{number}",
    }


def _write_data(tree: Tree) -> None:
    data = tree.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(tree.samples)
    for name in SPLITS:
        frame.to_parquet(data / f"{name}.parquet")
    counts = Counter(label for row in tree.samples for label in row.get("labels", [row["label"]]))
    labels = [
        {"label": code, "description": text, "category": category, "chapter": chapter, "train_samples": counts[code]}
        for code, text, category, _, chapter in sorted(CODES)
    ]
    write_json(data / "labels.json", labels)
    n = len(tree.samples)
    split = {
        "samples": n,
        "groups": n,
        "labels": len(counts),
        "label_counts": dict(counts),
        "words": {"q50": 80.0, "q99": 140.0},
    }
    none_shared = {"test in train": 0, "test in validation": 0, "validation in train": 0}
    few, all_ = {"samples": 3, "share": 3 / n}, {"samples": n, "share": 1.0}
    write_json(
        data / "dataset.json",
        {
            "source": {"hub": "Ahmad0067/MedSynth", "revision": "0123456789abcdef"},
            "digest": "d" * 64,
            "code_set": "simple-icd-10-cm 2.1.1",
            "rows": {"read": n + 7, "dropped": 7, "samples": n, "left_out_by_max_samples": 0},
            "dropped": {"no label": {"rows": 7, "examples": ["dialogues.csv row 12"]}},
            "changed": {},
            "same_text_different_labels": {"texts": 2, "samples": 4},
            "labels": {"system": "icd10cm", "level": "code", "count": len(CODES), "not_billable": 0},
            "splits": dict.fromkeys(SPLITS, split),
            "power": describe_power(n),
            "leakage": {
                "exact_duplicates": none_shared,
                "near_duplicates": none_shared,
                "near_duplicate_similarity": 0.8,
                "grouped_by_near_duplicates": True,
                "prints_own_label": dict.fromkeys(SPLITS, few),
                "prints_own_description": dict.fromkeys(SPLITS, all_),
                "labels_masked": False,
                "test_labels_unseen_in_train": {"labels": 1, "samples": 2, "first": ["N390"]},
            },
        },
    )


def _write_arm(tree: Tree, contender: Contender, random_: random.Random, gpu: bool, hostile: bool) -> None:
    folder = tree.folder / contender.path
    answer = _answer_set if tree.spec.several else _answer
    answers = [answer(row, contender, random_) for row in tree.samples]
    if hostile:
        hurt = dict.fromkeys(("raw", "thinking", "refusal", "error", "finish_reason"), HOSTILE)
        answers[0] = answers[0].model_copy(update={**hurt, "code": None})
    tree.predictions[contender.path] = answers
    write_predictions(folder / "predictions.jsonl", answers)
    arm = contender.arm
    if not arm.generates:
        for record in arm.steps:
            _write_records(folder, arm, record, False, 0.001, len(tree.samples))
        return
    billions = float((contender.size or "1B")[:-1])
    card = {
        "name": contender.name,
        "source": {"hub": f"org/{contender.name}"},
        "revision": "abc123" * 6,
        "folder": "x",
        "files": {},
        "parameters": int(billions * 1e9),
        "layers": 32,
        "architecture": "LlamaForCausalLM",
    }
    write_json(tree.folder / "models" / f"{arm.model}.json", card)
    _write_records(folder, arm, "predict", gpu, billions, len(tree.samples))
    if arm.finetuned:
        _write_records(folder, arm, "finetune", gpu, billions, len(tree.samples))
        _write_training(folder, random_, len(tree.samples))


def _answer_set(row: dict[str, Any], contender: Contender, random_: random.Random) -> Prediction:
    """Each label with the contender's skill, one that is wrong at times; for one text in 25 nothing can be read."""
    codes = [code for code, *_ in CODES]
    answered = [label for label in row["labels"] if random_.random() < contender.skill]
    answered += [code for code in codes if code not in row["labels"] and random_.random() < 0.3 * (1 - contender.skill)]
    read = random_.random() > 0.04
    ranked = answered + random_.sample([code for code in codes if code not in answered], len(codes) - len(answered))
    return Prediction(
        sample_id=row["sample_id"],
        raw="; ".join(answered) if read else "I would need more tests to be sure.",
        **set_fields(row["labels"], answered if read else None),
        candidates=[Candidate(code=code, log_probability=-0.2 - 0.5 * rank) for rank, code in enumerate(ranked)],
        prompt_tokens=800,
        new_tokens=8,
    )


def _answer(row: dict[str, str], contender: Contender, random_: random.Random) -> Prediction:
    """Right with the contender's skill; else a code of the same chapter, any code, or nothing that can be read."""
    truth = row["label"]
    codes = [code for code, *_ in CODES]
    if random_.random() < contender.skill:
        code: str | None = truth
    elif random_.random() < 0.12:
        code = None
    else:
        near = [one for one, _, _, _, chapter in CODES if chapter == row["chapter"] and one != truth]
        code = random_.choice(near if near and random_.random() < 0.4 else codes)
    others = random_.sample([one for one in codes if one != code], 5)
    ranked = ([code] if code else []) + others
    return Prediction(
        sample_id=row["sample_id"],
        label=truth,
        raw=f"{code[:3]}.{code[3:]}" if code else "I would need more tests to be sure.",
        code=code,
        candidates=[Candidate(code=one, log_probability=-0.4 - 0.7 * rank) for rank, one in enumerate(ranked[:5])],
        prompt_tokens=800,
        new_tokens=8,
    )


def _write_records(folder: Path, arm: Arm, step: str, gpu: bool, billions: float, samples: int) -> None:
    device = "NVIDIA H100 80GB HBM3" if gpu else "Intel Xeon"
    predicts = step == "predict"
    work = (0.05 if predicts else 4.0) * samples * billions / 3
    StepRecord(
        step=step,
        arm=arm.path,
        spec={},
        inputs={"model": "abc123" * 6, "test": "f" * 64},
        versions={"python": "3.12.3", "torch": "2.11.0", "transformers": "5.17.0"},
        device=device,
        seed=None if predicts else 42,
        seconds={"load": 6.0, "decode" if predicts else "train": work},
        samples=samples,
        prompt_tokens=800 * samples if predicts else 0,
        new_tokens=8 * samples if predicts else 0,
        trained_tokens=0 if predicts else 2400 * samples,
        token_budget=32768,
        peak_allocated=int(billions * 2.4 * 2**30) if gpu else None,
    ).write(folder / f"{step}.json")
    on_device = {
        "device": device,
        "device_total": 80 * 2**30,
        "device_before": 550 * 2**20,
        "device_peak": int(billions * 2.6 * 2**30),
        "device_after": 550 * 2**20,
        "energy_wh": round(work * 0.09, 2),
    }
    ProcessRecord(
        step=step,
        arm=arm.path,
        exit_code=0,
        seconds=work + 14.0,
        peak_resident=int(2.4 * 2**30),
        **(on_device if gpu else {}),
    ).write(folder / f"{step}.process.json")


def _write_training(folder: Path, random_: random.Random, samples: int) -> None:
    steps = 120
    log: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        loss = 2.5 * 0.97**step + 0.2 + random_.gauss(0, 0.05)
        log.append({"step": step, "epoch": 3 * step / steps, "loss": loss, "learning_rate": 2e-4})
        if step % 20 == 0:
            log[-1]["validation_loss"] = 2.4 * 0.97**step + 0.3 + 0.004 * step + random_.random() / 10
    best = min((row for row in log if "validation_loss" in row), key=lambda row: row["validation_loss"])
    write_jsonl(folder / "training_log.jsonl", log)
    summary = {
        "train_samples": 5 * samples,
        "batch_size": 32,
        "planned_steps": 150,
        "steps": steps,
        "epochs": 2.4,
        "stopped_early": True,
        "trained_tokens": 2400 * samples,
        "best_step": best["step"],
        "best_validation_loss": best["validation_loss"],
        "adapter_parameters": 97_000_000,
    }
    write_json(folder / "training.json", summary)
