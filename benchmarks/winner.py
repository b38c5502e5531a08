"""After the verdict, shown: train, answer 50 new texts, export, reload with transformers alone, count the differences.

    python benchmarks/winner.py --out /tmp/winner                                  # the demo's dialogues
    python benchmarks/winner.py --out /tmp/winner --data mts --shared ../shared/data
    python benchmarks/winner.py --out /tmp/winner --serve transformers             # also through an endpoint
    python benchmarks/winner.py --out /tmp/winner --serve "vllm serve {folder} --port {port} --dtype bfloat16"

A study of four arms, small enough for two processor cores: SmolLM2-135M cut to six layers and finetuned for a few
steps, to write (slm/writes) and with a head over labels (slm/chooses), an embedding, an encoder and TF-IDF. It need not
be right often: what is compared is whether the exported folder gives the answers of scripts/answer.py, text by text, to
texts that the study has never seen. The weights are float32 on a processor, so that a single difference is an error;
on a GPU with bfloat16 (--dtype) the number of differences is what is to be known.

`--serve` starts a server on the export of slm/writes and asks it the same texts through scripts/ask.py, as an endpoint
arm does. "transformers" is short for `transformers serve` in float32 on the processor; what that needs beside
transformers may lie in a folder of its own (`pip install --target DIR "transformers[serving]"`, `--packages DIR`).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

HOUSE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HOUSE / "scripts"), str(HOUSE / "studies/demo")]

import make_dialogues  # noqa: E402

from slingshot.artifacts.layout import ResultFiles  # noqa: E402
from slingshot.artifacts.predictions import Prediction, read_predictions  # noqa: E402
from slingshot.artifacts.records import read_step_record  # noqa: E402
from slingshot.config.specs import PredictSpec  # noqa: E402
from slingshot.deployment.new_texts import Wanted, read_new_texts, write_as_split  # noqa: E402
from slingshot.deployment.plain import choose_plainly, encode_plainly, plain_prompts, write_plainly  # noqa: E402
from slingshot.deployment.prompt_files import read_exported_prompt  # noqa: E402

TEXTS = 50
ARMS = ("slm/writes", "slm/chooses", "embedding/minilm", "encoder/minilm-tuned", "baseline/tfidf")
SERVERS = {
    "transformers": f"{sys.executable} -m transformers.cli.transformers serve {{folder}} --device cpu "
    "--dtype float32 --host 127.0.0.1 --port {port}"
}
WHEELS = yaml.safe_load((HOUSE / "studies/demo/config.yaml").read_text(encoding="utf-8"))
SMOLLM2, MINILM = WHEELS["llm"]["smol30"]["source"], WHEELS["embedding"]["minilm"]["source"]

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the study; what is finished there is kept")
    parser.add_argument("--data", choices=("demo", "mts"), default="demo")
    parser.add_argument("--shared", type=Path, default=HOUSE.parent / "shared/data", help="holds mts-dialog")
    parser.add_argument("--steps", type=int, default=60, help="of finetuning (60)")
    parser.add_argument("--train", type=int, default=200, help="most samples of train (200)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--quantization", choices=("none", "int8", "nf4"), default="none", help="of slm/writes")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, help="some of them (all)")
    parser.add_argument("--serve", help="transformers, or a command with {folder} and {port}")
    parser.add_argument("--packages", type=Path, help="folder of what the server needs beside the environment")
    given = parser.parse_args()
    study = given.out / given.data
    new = study / "monday.csv"
    if not (study / "config.yaml").exists():
        write_study(study, given)
    snakemake(study, *(f"results/{arm}/export" for arm in given.arms))
    print(f"{given.data}: {TEXTS} texts that the study has not seen, {given.dtype} on {given.device}", flush=True)
    for arm in given.arms:
        answered = answers_of(study, arm, new)
        reloaded = plain_answers(study, arm, new, given.dtype)
        report(f"{arm}, {by(arm)}", answered, reloaded)
    if given.serve:
        served = served_answers(study, "slm/writes", new, given)
        report(f"slm/writes, {given.serve.split()[0]} serve through ask", answers_of(study, "slm/writes", new), served)


def write_study(study: Path, given: argparse.Namespace) -> None:
    """The study's config and data, and monday.csv: texts that are in none of its splits."""
    study.mkdir(parents=True)
    rows, new = demo_rows() if given.data == "demo" else mts_rows(given.shared / "mts-dialog")
    pd.DataFrame(rows).to_csv(study / "texts.csv", index=False)
    pd.DataFrame(new[:TEXTS])[["text"]].to_csv(study / "monday.csv", index=False)
    labels = "icd10cm" if given.data == "demo" else "plain"
    (study / "prompt.yaml").write_text(
        "system: You are a medical coder.\nuser: |-\n  {{ text }}\n\n  Answer with the label alone: {{ answer_form }}\n"
    )
    small = {"source": SMOLLM2, "size": "50M", "layers": 6, "dtype": given.dtype}
    encoder = {"epochs": 1, "learning_rate": 5.0e-4, "batch_size": 8, "max_tokens": 256, "patience": None}
    config = {
        "data": {
            "source": {"path": "texts.csv"},
            "columns": {"description": "description"} if labels == "icd10cm" else {},
            "labels": labels,
            "max_samples": {"train": given.train, "validation": 40, "test": 40},
            "split": {"train": 0.7, "validation": 0.15, "test": 0.15, "seed": 1},
        },
        "prompt": {"file": "prompt.yaml", "max_tokens": 320},
        "generation": {"max_new_tokens": 12, "constrained": False},
        "finetune": {
            "max_steps": given.steps, "learning_rate": 1.0e-3, "batch_size": 2, "max_tokens": 320, "patience": None,
            "lora": {"r": 8, "alpha": 16, "dropout": 0.0, "layers": 3},
            "evaluate_every": given.steps, "validation_samples": 8,
        },
        "hardware": {"device": given.device, "token_budget": 1024, "mem_mb": 8000, "runtime_minutes": 60},
        "slm": {
            "writes": {**small, "quantization": given.quantization},
            "chooses": {**small, "finetune": {"head": "classify"}},
        },
        "embedding": {"minilm": {"source": MINILM, "size": "22.7M"}},
        "encoder": {"minilm-tuned": {"source": MINILM, "size": "22.7M", **encoder}},
    }  # fmt: skip
    (study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def demo_rows() -> tuple[Rows, Rows]:
    """Dialogues of the demo's 12 codes, and others that another seed draws."""
    conditions = make_dialogues.read_conditions(HOUSE / "studies/demo/conditions.yaml")
    drawn = [list(make_dialogues.rows(conditions, seed, count, 12)) for seed, count in ((42, 24), (7, 5))]
    return tuple(  # type: ignore[return-value]
        [{"text": row["Dialogue"], "label": row["ICD10"], "description": row["ICD10_desc"]} for row in rows]
        for rows in drawn
    )


def mts_rows(folder: Path) -> tuple[Rows, Rows]:
    """MTS-Dialog: its train and validation files for the study, and texts of its first test set."""
    files = ("TrainingSet", "ValidationSet", "TestSet-1-MEDIQA-Chat-2023")
    tables = [pd.read_csv(folder / f"MTS-Dialog-{name}.csv") for name in files]
    own, new = pd.concat(tables[:2]), tables[2]
    named = {"dialogue": "text", "section_header": "label"}
    found = [table.rename(columns=named)[list(named.values())] for table in (own, new)]
    new_rows = found[1][~found[1]["text"].isin(set(found[0]["text"]))]
    return found[0].to_dict("records"), new_rows.to_dict("records")


def snakemake(study: Path, *targets: str) -> None:
    command = ["snakemake", "--cores", "1", "--snakefile", str(HOUSE / "Snakefile"), "--directory", str(study)]
    run([*command, "--", *targets])


def run(command: list[str], **variables: str) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-3000:]}")


def answers_of(study: Path, arm: str, new: Path) -> list[Prediction]:
    """What scripts/answer.py gives, computed now rather than taken from the cache."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "predictions.jsonl"
        program = [sys.executable, str(HOUSE / "scripts/answer.py"), str(new), "--study", str(study), "--arm", arm]
        run([*program, "--output", f"{scratch}/answers.csv", "--predictions", str(out), "--force"])
        return read_predictions(out)


def by(arm: str) -> str:
    return "the exported pipeline" if arm.startswith(("embedding", "baseline")) else "transformers on the export"


def plain_answers(study: Path, arm: str, new: Path, dtype: str) -> list[str]:
    """The answers of the exported folder, as somebody who has nothing else would get them."""
    results = ResultFiles(study / "results")
    folder = results.arm(arm).export
    texts = read_new_texts(str(new), Wanted(["text"])).texts  # cleaned, as answer.py has them
    if arm.startswith("encoder"):
        return encode_plainly(folder, texts, json.loads((folder / "classes.json").read_text())["length"])
    if not arm.startswith("slm"):
        from slingshot.rivals.pipeline import load_fitted

        fitted = load_fitted(folder)
        return [fitted.labels[place] for place in fitted.answer(texts).probabilities.argmax(axis=1)]
    answer = write_plainly if (folder / "generation_config.json").exists() else choose_plainly
    return answer(folder, plain_prompts(folder, texts), dtype)


def served_answers(study: Path, arm: str, new: Path, given: argparse.Namespace) -> list[str]:
    """The answers of a server on the export, asked through scripts/ask.py."""
    results = ResultFiles(study / "results")
    folder = results.arm(arm).export
    spec = PredictSpec.model_validate(read_step_record(results.arm(arm).record("predict")).spec)
    kept = spec.model_dump(mode="json", include={"prompt", "generation", "few_shot", "labels", "level"})
    exported = read_exported_prompt(folder)
    kept["prompt"] |= {"system": exported.system or "", "user": exported.user}
    with serving(given.serve, folder, given.packages) as url, tempfile.TemporaryDirectory() as scratch:
        split, out = Path(scratch) / "new.parquet", Path(scratch) / "predictions.jsonl"
        write_as_split(split, read_new_texts(str(new), Wanted(["text"])).texts, None)
        asked = {**kept, "source": {"api": url, "model": str(folder), "sends_texts": True}}
        options = {
            "spec": json.dumps(asked), "arm": "llm/served", "labels": results.data.labels,
            "train": results.data.train, "split": split, "predictions": out, "record": f"{scratch}/record.json",
            "cache": f"{scratch}/cache", "at-once": 2,
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        run([sys.executable, str(HOUSE / "scripts/ask.py"), *words])
        return [each.raw for each in read_predictions(out)]


@contextmanager
def serving(command: str, folder: Path, packages: Path | None) -> Iterator[str]:
    """The address of a server, which ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = SERVERS.get(command, command).format(folder=folder, port=port).split()
    path = os.pathsep.join(filter(None, (str(packages or ""), os.environ.get("PYTHONPATH", ""))))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": path}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(words, env=environment, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 600
        try:
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        output.seek(0)
                        sys.exit(f"no server from {' '.join(words)}:\n{output.read()[-3000:]}")
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def report(what: str, answered: list[Prediction], others: list[str]) -> None:
    """One line: how many answers differ, of how many whose text was not cut, and how many kinds there were."""
    whole = [(one.raw, other) for one, other in zip(answered, others, strict=True) if not one.truncated]
    unlike = sum(one != other for one, other in whole)
    print(
        f"  {unlike} of {len(whole)} differ: {what} ({len({one for one, _ in whole})} different answers)",
        flush=True,
    )


if __name__ == "__main__":
    main()
