"""A real endpoint: `transformers serve` with SmolLM2 in float32 gives the answers of predict, through ask.

Needs SmolLM2-135M-Instruct as a folder of safetensors (SLINGSHOT_SMOLLM2, or what studies/demo has fetched) and
FastAPI, Uvicorn and python-multipart (`pip install "transformers[serving]"`); skipped without.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.winner import serving

from slingshot.artifacts.model_card import ModelCard
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_step_record
from slingshot.config.specs import AskSpec, PredictSpec
from tests.splits import write_labels, write_split

ROOT = Path(__file__).parents[2]
CARD = ROOT / "studies/demo/results/models/smol30.json"
FOLDER = CARD.parent / json.loads(CARD.read_text())["folder"] if CARD.exists() else CARD.parent
MODEL = Path(os.environ.get("SLINGSHOT_SMOLLM2", FOLDER))
LABELS = {
    "I10": "Essential (primary) hypertension",
    "J069": "Acute upper respiratory infection",
    "M545": "Low back pain",
}
COMPLAINTS = ("my blood pressure was high again", "I have a runny nose and a sore throat", "my lower back hurts")
SAMPLES = 12

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="SmolLM2's weights are not here"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "multipart")),
        reason="FastAPI, Uvicorn or python-multipart are not installed",
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_labels(folder / "labels.json", LABELS)
    texts = [
        f"Doctor: What brings you in? Patient: For {number + 2} days {COMPLAINTS[number % 3]}, worse than in May."
        for number in range(SAMPLES)
    ]
    for name in ("train", "test"):
        write_split(folder / f"{name}.parquet", texts, LABELS)
    ModelCard(
        name="smol", source={"folder": str(MODEL)}, revision="r", folder=str(MODEL), files={"model.safetensors": "d"},
        parameters=134_515_008, layers=30, architecture="LlamaForCausalLM",
    ).write(folder / "smol.json")  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def url():
    """The address of a server of its own."""
    program = f"{sys.executable} -m transformers.cli.transformers serve {MODEL}"
    with serving(f"{program} --device cpu --dtype float32 --host 127.0.0.1 --port {{port}}", MODEL, None) as address:
        yield address


def answered(folder: Path, program: str, spec: str, *more: str):
    files = {name: folder / f"{program}.{name}" for name in ("predictions", "record", "cache")}
    command = [
        sys.executable, str(ROOT / "scripts" / f"{program}.py"), "--spec", spec, "--arm", "llm/smol",
        "--labels", str(folder / "labels.json"), "--train", str(folder / "train.parquet"),
        "--split", str(folder / "test.parquet"), *more,
    ]  # fmt: skip
    for name, path in files.items():
        command += [f"--{name}", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_predictions(files["predictions"]), read_step_record(files["record"])


@pytest.mark.parametrize("k", [0, 2], ids=["no examples", "two examples"])
def test_an_endpoint_gives_the_answers_of_predict(folder, url, k):
    shared = {
        "prompt": {
            "system": "You are a medical coder.",
            "user": "{{ text }}\n\nAnswer with the ICD-10-CM code, like {{ answer_form }}.",
            "answer": "code description",
            "max_tokens": 2048,
        },
        "generation": {"max_new_tokens": 24, "constrained": False},
        "few_shot": {"k": k},
        "labels": "icd10cm",
        "level": "code",
    }
    local = PredictSpec.model_validate(
        {**shared, "quantization": "none", "unquantized_without_gpu": False, "dtype": "float32"}
    )
    remote = AskSpec.model_validate({**shared, "source": {"api": url, "model": str(MODEL)}})
    here, _ = answered(
        folder, "predict", local.model_dump_json(), "--model", str(folder / "smol.json"), "--device", "cpu"
    )
    there, record = answered(folder, "ask", remote.model_dump_json(), "--at-once", "2")
    assert [(one.raw, one.code) for one in there] == [(one.raw, one.code) for one in here]
    assert [one.prompt_tokens for one in there] == [one.prompt_tokens for one in here]
    assert len({one.raw for one in here}) > 1  # the answers depend on the dialogue
    assert record.endpoint.errors == {} and record.endpoint.uncounted == 0
