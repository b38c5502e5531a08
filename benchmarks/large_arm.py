"""What an untrained model scores under each prompt: free and constrained, with labels, candidates, examples.

    python benchmarks/large_arm.py --model FOLDER --data mts --test 60 --validation 30 --out r.jsonl

Data: mts (MTS-Dialog, plain labels), codiesp (the 20 commonest blocks of ICD-10-CM), demo (studies/demo). Test samples
are the same for every prompt, drawn by hash; the prompt that is best on validation is named. `--old FILE` reads the
same answers with an earlier answers.py, too (`git show COMMIT:scripts/slingshot/prompting/answers.py > FILE`).
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

SHARED = Path("/work/shared/data")
PLAIN = "You read a part of a conversation between a doctor and a patient."
CODER = "You are an experienced medical coder."
ASKS = {
    "mts": (PLAIN, "Which section of the visit's note does it belong to?", "plain"),
    "codiesp": (CODER, "Which block of ICD-10-CM codes (such as I10-I16) fits the sentence?", "icd10cm"),
    "demo": (CODER, "Which ICD-10-CM code describes the main diagnosis?", "icd10cm"),
}
CONDITIONS = {
    "plain": ("", 0),
    "labels": ("labels", 0),
    "candidates": ("candidates", 0),
    "labels, 2 examples": ("labels", 2),
}


def read_rows(name: str) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Rows to learn from and rows to be tested on, with text, label and description."""
    from slingshot.core.hashing import digest_of_text
    from slingshot.data import icd10

    def table(path: Path) -> list[dict[str, str]]:
        with path.open(encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    if name == "mts":
        parts = [
            table(SHARED / f"mts-dialog/MTS-Dialog-{part}.csv")
            for part in ("TrainingSet", "TestSet-1-MEDIQA-Chat-2023")
        ]
        made = [
            [{"text": row["dialogue"], "label": row["section_header"], "description": ""} for row in part]
            for part in parts
        ]
        return made[0], made[1]
    if name == "codiesp":
        rows = [(row, icd10.find(row["ICD10"])) for row in table(SHARED / "codiesp/mentions_es.csv")]
        known = [{"text": row["sentence"], "label": code.block, "group": row["document"]} for row, code in rows if code]
        common = {block for block, _ in Counter(row["label"] for row in known).most_common(20)}
        known = [
            {**row, "description": icd10.describe(row["label"], "block")} for row in known if row["label"] in common
        ]
    else:
        known = [
            {"text": row["Dialogue"], "label": row["ICD10"].replace(".", ""), "description": row["ICD10_desc"],
             "group": row["Group"]}
            for row in table(ROOT / "studies/demo/data/dialogues.csv")
        ]  # fmt: skip
    tested = [int(digest_of_text(row["group"])[:8], 16) % 5 == 0 for row in known]
    return [r for r, test in zip(known, tested, strict=True) if not test], [
        r for r, test in zip(known, tested, strict=True) if test
    ]


def drawn(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    from slingshot.core.hashing import digest_of_text

    return sorted(rows, key=lambda row: digest_of_text(row["text"] + row["label"]))[:count]


@dataclass
class Task:
    """What is asked of the model, of which samples, and who reads its answers; `old` is an earlier answers.py."""

    data: str
    train: list[dict[str, str]]
    validation: list[dict[str, str]]
    test: list[dict[str, str]]
    labels: list[Any]
    reader: Any
    level: str
    old: Any

    @property
    def rows(self) -> list[dict[str, str]]:
        return [*self.validation, *self.test]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", choices=ASKS, required=True)
    parser.add_argument("--test", type=int, default=60)
    parser.add_argument("--validation", type=int, default=30)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--old", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    task = read_task(options)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    written: list[dict[str, Any]] = []
    for condition in CONDITIONS:
        kept = measure_condition(condition, task, model, tokenizer, options.new_tokens)
        written += kept
        with options.out.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(each, ensure_ascii=False) + "\n" for each in kept)
    best = max(CONDITIONS, key=lambda name: sum(
        each["read"] == each["label"] for each in written if each["condition"] == name and each["split"] == "validation"
    ))  # fmt: skip
    differ = sum(each["read"] != each["read_before"] for each in written)
    print(f"{options.data}: best on validation (free): {best}; {differ} of {len(written)} answers read differently")


def read_task(options: argparse.Namespace) -> Task:
    from slingshot.artifacts.labels import Label
    from slingshot.prompting.answers import AnswerReader

    kind = ASKS[options.data][2]
    level = "block" if options.data == "codiesp" else "code"
    known, tested = read_rows(options.data)
    train = known[: len(known) * 4 // 5] if options.data == "mts" else known
    validation = drawn(known[len(train) :] or known[::7], options.validation)
    train = [row for row in train if row["text"] not in {each["text"] for each in validation}]
    named = sorted({row["label"]: row["description"] for row in train}.items())
    labels = [Label(label=label, description=description or None, train_samples=1) for label, description in named]
    reader = AnswerReader({label.label: label.description for label in labels}, kind, level)
    old = None
    if options.old:
        source = importlib.util.spec_from_file_location("old_answers", options.old)
        old = importlib.util.module_from_spec(source)
        source.loader.exec_module(old)
    return Task(options.data, train, validation, drawn(tested, options.test), labels, reader, level, old)


def write_prompt(condition: str, data: str) -> Any:
    from slingshot.config.specs import PromptText

    system, question, kind = ASKS[data]
    shows = CONDITIONS[condition][0]
    listed = "\n\nThe labels are:\n{{ labels }}" if shows == "labels" else ""
    likely = "\n\nOne of these is right:\n{{ candidates }}" if shows == "candidates" else ""
    return PromptText(
        system=system + listed,
        user="{{ text }}" + likely + f"\n\n{question} Answer with {{{{ answer_form }}}} and nothing else.",
        answer="code",
        max_tokens=1600,
        names="label" if kind == "plain" else "code",
        candidates=10 if shows == "candidates" else 0,
    )


def measure_condition(condition: str, task: Task, model: Any, tokenizer: Any, new_tokens: int) -> list[dict[str, Any]]:
    """Answer all samples under one prompt, print the scores, and return a row per sample."""
    from slingshot.config.recipe import FewShot
    from slingshot.generation.allowed_answers import answers_in_tokens
    from slingshot.generation.answer_trie import build_trie
    from slingshot.generation.generate import generate
    from slingshot.generation.types import Decoding, GenerationStats, Memory
    from slingshot.prompting.examples import choose_examples
    from slingshot.prompting.label_lists import LabelLists
    from slingshot.prompting.prompter import Prompter
    from slingshot.prompting.right_answers import AnswerWriter

    prompt, k = write_prompt(condition, task.data), CONDITIONS[condition][1]
    lists = LabelLists(prompt, task.labels, lambda: task.train)
    prompter = Prompter(tokenizer, prompt, lists)
    tokens = answers_in_tokens(prompter, "code", {label.label: "" for label in task.labels})
    trie = build_trie([label.label for label in task.labels], tokens, prompter.end_ids)
    texts = [row["text"] for row in task.rows]
    examples = choose_examples(FewShot(k=k), task.train, texts, AnswerWriter("code"), lists) if k else None
    prompts = [made.ids for made in prompter.prompts(texts, examples)]
    decoding = Decoding(new_tokens, tuple(prompter.end_ids), constrained=True, trie=trie)
    start, answers = time.perf_counter(), {}
    for some in generate(model, prompts, decoding, Memory(), GenerationStats()):
        answers.update(some)
    seconds = time.perf_counter() - start
    raw = [tokenizer.decode(answers[index].ids, skip_special_tokens=True) for index in range(len(texts))]
    kept = read_answers(condition, task, raw, [answers[index].constrained for index in range(len(texts))])
    recall = lists.recall(texts, [[row["label"]] for row in task.rows])
    print_scores(condition, task.data, kept, f"recall {recall}; {seconds:.0f} s")
    return kept


def read_answers(condition: str, task: Task, raw: list[str], constrained: list[str | None]) -> list[dict[str, Any]]:
    kind, known = ASKS[task.data][2], {label.label for label in task.labels}
    return [
        {
            "condition": condition,
            "split": "validation" if index < len(task.validation) else "test",
            "label": row["label"],
            "raw": raw[index],
            "read": task.reader.read(raw[index]),
            "read_before": task.old.read_answer(raw[index], known, kind, task.level) if task.old else None,
            "constrained": constrained[index],
        }
        for index, row in enumerate(task.rows)
    ]


def print_scores(condition: str, data: str, kept: list[dict[str, Any]], more: str) -> None:
    for split in ("validation", "test"):
        some = [each for each in kept if each["split"] == split]
        shares = {
            part: sum(each[part] == each["label"] for each in some) / len(some)
            for part in ("read_before", "read", "constrained")
        }
        unread = sum(each["read"] is None for each in some)
        print(
            f"{data} {condition} {split} n={len(some)}: free {shares['read']:.1%} (read as before "
            f"{shares['read_before']:.1%}; {unread} unread), constrained {shares['constrained']:.1%}; {more}",
            flush=True,
        )


if __name__ == "__main__":
    main()
