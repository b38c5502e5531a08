"""What merging costs an adapter that was trained on 4-bit weights: answers before and after, on a study's test split.

    python benchmarks/winner.py --out /tmp/winner          # writes the study
    python benchmarks/merged_nf4.py --study /tmp/winner/demo --out /tmp/nf4

An adapter is trained on the base model's weights in NF4 with the recipe of the study's slm/writes, and answers the test
split three times: on the NF4 weights (what a study scores), merged into the unquantized weights (`export.py --merge`),
and, beside them, an adapter that was trained on unquantized weights and put on NF4 ones. Each part is a process of its
own: bitsandbytes keeps state between answering and training. Runs on a processor, too, where the study's own steps
refuse NF4 as it is slow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOUSE / "scripts"))

from slingshot.artifacts.layout import ResultFiles  # noqa: E402
from slingshot.artifacts.predictions import read_predictions  # noqa: E402
from slingshot.artifacts.records import read_step_record  # noqa: E402
from slingshot.config.specs import FinetuneSpec, PredictSpec  # noqa: E402

ARM = "slm/writes"
PARTS = {  # name: weights that the adapter is trained on, and that it answers on
    "trained on nf4, answers on nf4": ("nf4", "nf4"),
    "trained on nf4, merged into float32": ("nf4", "none"),
    "trained on float32, merged into float32": ("none", "none"),
    "trained on float32, answers on nf4": ("none", "nf4"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="a study with a finished slm/writes")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="optimizer steps (as in the study)")
    parser.add_argument("--part", nargs=3, metavar=("WHAT", "TRAINED", "ANSWERED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        what, trained, answered = given.part
        load_nf4_on_a_processor()
        (train if what == "train" else answer)(given, trained, answered)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    for trained in ("nf4", "none"):
        part(given, "train", trained, "-")
    for trained, answered in PARTS.values():
        part(given, "answer", trained, answered)
    found = {name: read_predictions(given.out / f"{a}-{b}.jsonl") for name, (a, b) in PARTS.items()}
    first = next(iter(found.values()))
    for name, answers in found.items():
        right = sum(each.code == each.label for each in answers)
        unlike = sum(one.raw != other.raw for one, other in zip(answers, first, strict=True))
        print(f"  {right:3d} of {len(answers)} right, {unlike:3d} answers differ from the first row: {name}")


def part(given: argparse.Namespace, *words: str) -> None:
    command = [sys.executable, __file__, "--study", str(given.study), "--out", str(given.out), "--part", *words]
    if given.steps:
        command += ["--steps", str(given.steps)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}:\n{done.stderr[-3000:]}")


def load_nf4_on_a_processor() -> None:
    """Let the steps of this process load NF4 weights without a GPU, as bitsandbytes can."""
    import torch

    from slingshot.generation import generate
    from slingshot.models import loading
    from slingshot.training import finetune

    def load(card: Any, quantization: Any, dtype: Any, device: str, *_: Any) -> Any:
        model, loaded = loading._from_pretrained(card, quantization, torch.float32, device)
        loading.check_whole(card, model, loaded)
        return model.eval()

    def load_with_gradients(*given: Any) -> Any:
        """On a processor bitsandbytes' layers in evaluation mode pass no gradient to what comes before them."""
        model = load(*given)
        for module in model.modules():
            if type(module).__name__ == "Linear4bit":
                module.train()
                module.train = lambda mode=True, kept=module: kept
        return model

    finetune.load_model, generate.load_model = load_with_gradients, load


def train(given: argparse.Namespace, trained: str, _: str) -> None:
    from slingshot.training.finetune import finetune
    from slingshot.training.state import FinetuneJob

    results = ResultFiles(given.study / "results")
    recorded = read_step_record(results.arm(ARM).record("finetune")).spec
    if given.steps:
        recorded["finetune"]["max_steps"] = given.steps
    spec = FinetuneSpec.model_validate(recorded | {"quantization": trained, "dtype": "float32"})
    files = {name: given.out / f"{trained}.{name}" for name in ("adapter", "training", "log", "record")}
    finetune(
        FinetuneJob(
            spec=spec, arm=ARM, model=results.model_card("writes"), labels=results.data.labels,
            train=results.data.train, validation=results.data.validation, device="cpu", token_budget=1024, **files,
        )
    )  # fmt: skip


def answer(given: argparse.Namespace, trained: str, answered: str) -> None:
    from slingshot.generation.predict import PredictJob, predict

    results = ResultFiles(given.study / "results")
    recorded = read_step_record(results.arm(ARM).record("predict")).spec
    spec = PredictSpec.model_validate(recorded | {"quantization": answered, "dtype": "float32"})
    name = f"{trained}-{answered}"
    predict(
        PredictJob(
            spec=spec, arm=ARM, model=results.model_card("writes"), labels=results.data.labels,
            train=results.data.train, split=results.data.test, predictions=given.out / f"{name}.jsonl",
            record=given.out / f"{name}.json", cache=given.out / f"{name}.cache",
            adapter=given.out / f"{trained}.adapter", device="cpu", force=True,
        )
    )  # fmt: skip
    print(json.dumps({"answered": name}))


if __name__ == "__main__":
    main()
