"""finetune.head: classify, from training to answers, on a tiny model."""

import json
import math
import runpy
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_step_record
from slingshot.config.recipe import FewShot, Generation
from slingshot.config.specs import PredictSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, read_jsonl
from slingshot.core.hashing import digest_of_file
from slingshot.generation.predict import PredictJob, predict
from slingshot.nn import lora
from slingshot.nn.class_head import (
    ClassHead,
    as_classifier,
    labels_in,
    load_trained_state,
    replace_head,
    trained_state,
    with_labels,
)
from slingshot.training.finetune import finetune
from slingshot.training.samples import classes_of
from slingshot.training.state import FinetuneJob
from tests.unit.tiny_models import tiny_model
from tests.unit.training_inputs import CODES, PROGRAM, paths, spec, write_study

CLASSIFY = {"head": "classify", "epochs": 30, "evaluate_every": 40, "patience": None}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    labels = [{"label": label, "description": description, "train_samples": 1} for label, description in CODES.items()]
    (folder / "labels.json").write_text(json.dumps(labels))
    return folder


def run(study, out, wanted, **more):
    finetune(FinetuneJob(spec=wanted, arm="slm/tiny", device="cpu", **paths(study, out), **more))
    return paths(study, out)


@pytest.fixture(scope="module")
def trained(study):
    wanted = spec(**CLASSIFY, select_by="validation_exact_match").model_copy(update={"dtype": "float32"})
    return run(study, "classified", wanted)


def answer(study, trained, split, out):
    wanted = PredictSpec(
        quantization="none",
        unquantized_without_gpu=False,
        dtype="float32",
        prompt=spec().prompt,
        generation=Generation(),
        few_shot=FewShot(),
        labels="icd10cm",
        level="code",
        head="classify",
    )
    names = {"model": study / "card.json", "labels": study / "labels.json", "train": study / "train.parquet"}
    files = {name: out / f"{name}.out" for name in ("predictions", "record", "cache")}
    job = PredictJob(
        spec=wanted, arm="slm/tiny", split=study / split, adapter=trained["adapter"], device="cpu", **names, **files
    )
    predict(job)
    return read_predictions(files["predictions"]), read_step_record(files["record"])


def test_a_head_learns_and_answers_with_probabilities(study, trained, tmp_path):
    summary = read_json(trained["training"])
    assert summary["last_train_loss"] < 0.5 * summary["first_train_loss"]
    answers, record = answer(study, trained, "train.parquet", tmp_path)
    assert sum(each.code == each.label for each in answers) >= 14  # of 16
    for each in answers:
        assert sum(math.exp(one.log_probability) for one in each.candidates) == pytest.approx(1)
        assert each.new_tokens == 0 and each.code == each.candidates[0].code
    assert record.seconds["classify"] > 0 and record.samples == 16


def test_training_and_answering_compute_the_same(study, trained, tmp_path):
    """The share right on validation: as training saw it through its packed path, and as predict answers."""
    answers, _ = answer(study, trained, "validation.parquet", tmp_path)
    right = sum(each.code == each.label for each in answers) / len(answers)
    assert right == pytest.approx(read_json(trained["training"])["best_validation_exact_match"])


def test_the_adapters_file_holds_head_and_labels(study, trained):
    kept = load_file(trained["adapter"] / "adapter_model.safetensors")
    assert labels_in(kept) == classes_of(spec(**CLASSIFY), study / "train.parquet")
    assert kept["class_head.weight"].shape == (len(CODES), 32)
    assert "class_head" not in str(read_json(trained["adapter"] / "adapter_config.json"))


def test_a_killed_run_goes_on_to_the_same_bytes(study):
    wanted = spec(**CLASSIFY | {"epochs": 3, "evaluate_every": 4}).model_copy(update={"dtype": "float32"})
    whole = run(study, "whole", wanted, token_budget=400)
    from slingshot.training import finetune as recipe

    step = recipe.training_step

    def dies_after_five(trainer, state):
        if state.step == 5:
            raise KeyboardInterrupt
        return step(trainer, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "training_step", dies_after_five)
        with pytest.raises(KeyboardInterrupt):
            run(study, "killed", wanted, token_budget=400, checkpoint_steps=2)
    killed = run(study, "killed", wanted, token_budget=400)
    digests = [digest_of_file(made["adapter"] / "adapter_model.safetensors") for made in (whole, killed)]
    assert digests[0] == digests[1]
    assert len(read_jsonl(killed["log"])) == len(read_jsonl(whole["log"]))


def test_an_adapter_without_a_head_is_refused(study, tmp_path):
    written = run(study, "written", spec(epochs=0.25))
    with pytest.raises(StudyError, match=r"holds no head over labels: finetune it again with finetune\.head: classify"):
        answer(study, written, "validation.parquet", tmp_path)


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_the_head_takes_the_place_of_the_models_own(family):
    model = tiny_model(family)
    lora.add_adapters(model, spec().finetune.lora, 4, 8, 1)
    replace_head(model, 5, seed=1)
    logits = model(input_ids=torch.arange(3, 9)[None]).logits
    assert logits.shape == (1, 6, 5) and logits.dtype == torch.float32
    logits.sum().backward()
    head = model.get_output_embeddings()
    assert isinstance(head, ClassHead) and head.weight.grad is not None
    assert model.get_input_embeddings().weight.grad is None
    state = {name: value.clone() for name, value in trained_state(model).items()}
    assert "class_head.weight" in state
    head.weight.data.zero_()
    load_trained_state(model, state)
    assert head.weight.any()


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_a_network_with_its_head_is_transformers_own_classifier(family, trained, tmp_path):
    """The logits at a prompt's last token, and the labels by name, after a way through files."""
    model = tiny_model(family)
    adapter = tmp_path / "adapter"
    codes = [f"C{number}" for number in range(12)]  # as text C10 stands before C2
    draw = torch.Generator().manual_seed(0)
    state = {"class_head.weight": torch.randn(12, 32, generator=draw)}
    adapter.mkdir()
    save_file(with_labels(state, codes), adapter / "adapter_model.safetensors")
    as_classifier(model, adapter).save_pretrained(tmp_path / "exported")
    ids = torch.arange(3, 30)[None]
    with torch.no_grad():
        ours = model(ids).logits[0, -1]
        exported = AutoModelForSequenceClassification.from_pretrained(tmp_path / "exported").eval()
        theirs = exported(ids).logits[0]
    assert theirs.argmax() == ours.argmax()
    if family != "gemma2":  # which caps what the head gives, where a classifier does not: the order is the same
        torch.testing.assert_close(theirs, ours)
    assert [exported.config.id2label[number] for number in range(12)] == codes


def test_a_head_is_not_merged_into_a_model_that_writes(study, trained, tmp_path, monkeypatch):
    words = ["--model", study / "card.json", "--adapter", trained["adapter"], "--merged", tmp_path / "merged"]
    monkeypatch.setattr(sys, "argv", ["merge_adapter.py", *map(str, words)])
    with pytest.raises(SystemExit, match="chooses labels with a head and writes nothing"):
        runpy.run_path(str(PROGRAM.with_name("merge_adapter.py")), run_name="__main__")
