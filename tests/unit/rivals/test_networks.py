"""Embedding and encoder arms on a tiny network: what they learn, keep in files and do with long texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.predictions import read_predictions
from slingshot.artifacts.records import read_step_record
from slingshot.config.rivals import EmbeddingSettings, EncoderRecipe
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, read_jsonl, write_json
from slingshot.deployment.pipelines import compare_answers, copy_pipeline
from slingshot.models import number_types
from slingshot.rivals import encoder
from slingshot.rivals.embedding import load_embedder, pooled
from slingshot.rivals.pipeline import load_fitted
from slingshot.rivals.token_windows import windows_of, without_middle
from tests.rival_steps import fit_and_answer, write_rival_study
from tests.tiny_encoder import word_tokenizer
from tests.unit.rivals.test_tfidf import samples

WORDS = [f"own{label}x{number}" for label in range(4) for number in range(6)] + [f"any{n}" for n in range(200)]
RECIPES = {
    "embedding": {"rival": "embedding", "classifier": {"regularization": [0.001, 0.1]}},
    "encoder": {"rival": "encoder", "epochs": 6, "learning_rate": 0.01, "batch_size": 8, "patience": 2},
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rival_study(tmp_path_factory.mktemp("study"), WORDS, samples, 60, [f"L{n}" for n in range(4)])


@pytest.fixture(scope="module", params=list(RECIPES))
def arm(request: pytest.FixtureRequest, study: Path) -> Path:
    """The folder of a finished arm."""
    out = study / f"results/{request.param}/tiny"
    out.mkdir(parents=True)
    card = study / "results/models/tiny.json"
    fit_and_answer(study / "results/data", out, RECIPES[request.param], card, candidates=3)
    return out


def test_what_the_words_say_is_learned(arm: Path) -> None:
    answers = read_predictions(arm / "predictions.jsonl")
    assert sum(answer.code == answer.label for answer in answers) >= 30  # of 60; by chance 15
    assert {len(answer.candidates) for answer in answers} == {3}
    assert all(answer.prompt_tokens == 14 for answer in answers)  # 12 words and two special tokens


def test_the_pipeline_in_files_answers_new_texts_alike(arm: Path) -> None:
    fitted = load_fitted(arm / "fitted")
    answers = read_predictions(arm / "predictions.jsonl")
    probabilities = fitted.answer(samples(60, 2)["text"].tolist()).probabilities
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert [fitted.labels[column] for column in probabilities.argmax(axis=1)] == [answer.code for answer in answers]
    likeliest = [answer.candidates[0].log_probability for answer in answers]
    np.testing.assert_allclose(np.log(probabilities.max(axis=1)), likeliest, atol=1e-4)


def test_no_file_of_a_pipeline_holds_code(arm: Path) -> None:
    suffixes = {path.suffix for path in (arm / "fitted").iterdir()}
    assert suffixes <= {".json", ".safetensors", ".skops", ".txt", ".jinja"}


def test_the_records_say_what_cost_needs(arm: Path) -> None:
    fit, predict = (read_step_record(arm / f"{step}.json") for step in ("finetune", "predict"))
    assert fit.trained_tokens >= 120 * 14
    assert fit.inputs["model"] == read_model_card(arm.parents[1] / "models/tiny.json").revision
    assert predict.prompt_tokens == (60 + 40) * 14  # of test and validation
    assert fit.dtype == "float32"
    assert read_json(arm / "training.json")["train_samples"] == 120


@pytest.mark.parametrize(("flags", "dtype"), [({"avx512_bf16"}, "bfloat16"), ({"avx2"}, "float32")])
@pytest.mark.parametrize("rival", list(RECIPES))
def test_auto_is_the_type_that_the_processor_multiplies(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rival: str, flags: set[str], dtype: str
) -> None:
    monkeypatch.setattr(number_types, "processor_flags", lambda: flags)
    out = study / f"results/{rival}/auto-{dtype}"
    out.mkdir(parents=True)
    recipe = RECIPES[rival] | {"dtype": "auto"}
    fit_and_answer(study / "results/data", out, recipe, study / "results/models/tiny.json")
    assert read_step_record(out / "finetune.json").dtype == read_json(out / "training.json")["dtype"] == dtype
    answers = read_predictions(out / "predictions.jsonl")
    assert sum(answer.code == answer.label for answer in answers) >= 30  # of 60; by chance 15
    if rival == "embedding":
        assert read_json(out / "fitted/network.json")["settings"]["dtype"] == dtype


def test_an_embedding_refuses_another_network(arm: Path, tmp_path: Path) -> None:
    if arm.parent.name != "embedding":
        pytest.skip("an encoder keeps its own network")
    kept = read_json(arm / "fitted/network.json")
    for path in (arm / "fitted").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    card = (arm / "fitted" / kept["card"]).resolve()
    write_json(tmp_path / "network.json", kept | {"revision": "another", "card": str(card)})
    with pytest.raises(StudyError, match="was fitted with revision another"):
        load_fitted(tmp_path)
    write_json(tmp_path / "network.json", kept | {"layers": kept["layers"] + 1, "card": str(card)})
    with pytest.raises(StudyError, match=f"in {kept['layers'] + 1} layers"):
        load_fitted(tmp_path)


def test_an_exported_pipeline_answers_alone_and_in_plain_transformers(arm: Path, tmp_path: Path) -> None:
    """It is moved, and what the study has of the network is out of its reach."""
    results = ResultFiles(arm.parents[1])
    copy_pipeline(arm / "fitted", tmp_path / "first")
    target = (tmp_path / "first").rename(tmp_path / "elsewhere")
    assert "/results/" not in "".join(path.read_text() for path in target.glob("*.json"))
    compared = compare_answers(target, ArmFiles(arm), results, 60)
    by = "plain transformers" if arm.parent.name == "encoder" else "this folder"
    assert compared.note == f"60 of 60 test samples answered by {by} as in the study"
    weights = next(target.rglob("*.safetensors"))
    save_file(
        {name: value.flip(0).contiguous() for name, value in load_file(weights).items()}, weights, {"format": "pt"}
    )
    with pytest.raises(StudyError, match=r"of 60 answers of .* differ from"):
        compare_answers(target, ArmFiles(arm), results, 60)
    if arm.parent.name == "embedding":  # in 16 bits an answer may hang on its batch: how many are alike is said instead
        kept = read_json(target / "network.json")
        write_json(target / "network.json", kept | {"settings": kept["settings"] | {"dtype": "bfloat16"}})
        alike = compare_answers(target, ArmFiles(arm), results, 60).alike
        assert alike < 60


def test_an_encoder_logs_each_epoch(arm: Path) -> None:
    if arm.parent.name != "encoder":
        pytest.skip("an embedding trains no network")
    judged = [line for line in read_jsonl(arm / "training_log.jsonl") if "validation_loss" in line]
    training = read_json(arm / "training.json")
    assert len(judged) == round(training["epochs"])
    best = min(judged, key=lambda line: line["validation_loss"])
    assert (best["step"], best["validation_loss"]) == (training["best_step"], training["best_validation_loss"])
    assert not (arm / "checkpoints").exists()


def test_how_far_it_is_stands_in_the_log(study: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = study / "results/shown/tiny"
    out.mkdir(parents=True)
    with caplog.at_level("INFO", "slingshot.core.progress"):
        for rival in ("encoder", "embedding"):
            fit_and_answer(study / "results/data", out, RECIPES[rival], study / "results/models/tiny.json")
    assert any("90/90 steps" in line for line in caplog.messages)
    assert any("120/120 windows" in line for line in caplog.messages)


def test_an_encoder_that_was_killed_goes_on_to_the_same_weights(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, data, done = study / "results/models/tiny.json", study / "results/data", []
    out = {name: study / f"results/{name}/tiny" for name in ("whole", "killed")}
    for folder in out.values():
        folder.mkdir(parents=True)
    fit_and_answer(data, out["whole"], RECIPES["encoder"], card, candidates=3)
    plain = Trainer.training_step

    def killed(*given: Any, **named: Any) -> Any:
        done.append(1)
        if len(done) == 40:  # in the third epoch of 15 steps
            raise SystemExit(137)
        return plain(*given, **named)

    monkeypatch.setattr(Trainer, "training_step", killed)
    with pytest.raises(SystemExit):
        fit_and_answer(data, out["killed"], RECIPES["encoder"], card, candidates=3)
    fit_and_answer(data, out["killed"], RECIPES["encoder"], card, candidates=3)
    steps = read_json(out["whole"] / "training.json")["steps"]
    assert len(done) == steps + 40 - 30  # the two epochs before stay done
    for name in ("fitted/model.safetensors", "predictions.jsonl"):
        assert (out["killed"] / name).read_bytes() == (out["whole"] / name).read_bytes()


def test_a_long_text_is_the_mean_of_its_windows(study: Path) -> None:
    card = read_model_card(study / "results/models/tiny.json")
    embedder = load_embedder(card, EmbeddingSettings(max_tokens=16), "cpu")
    first, second = " ".join(WORDS[:14]), " ".join(WORDS[30:44])
    both, tokens = embedder.embed([f"{first} {second}"])
    apart, _ = embedder.embed([first, second])
    np.testing.assert_allclose(both[0], apart.mean(axis=0), atol=1e-5)
    assert tokens == [32]


def test_batching_and_padding_change_no_vector(study: Path) -> None:
    card = read_model_card(study / "results/models/tiny.json")
    for pooling in ("mean", "cls", "last"):
        embedder = load_embedder(card, EmbeddingSettings(pooling=pooling), "cpu")
        texts = [" ".join(WORDS[:length]) for length in (3, 40, 1, 17)]
        together = embedder.embed(texts)[0]
        alone = np.concatenate([embedder.embed([text])[0] for text in texts])
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pooled(hidden, mask, "cls").tolist() == [[1.0, 0.0]]
    assert pooled(hidden, mask, "last").tolist() == [[0.0, 1.0]]
    np.testing.assert_allclose(pooled(hidden, mask, "mean"), [[0.6, 0.8]])


def test_windows_hold_every_token_once() -> None:
    tokenizer = word_tokenizer(WORDS)
    windows = windows_of(tokenizer, [" ".join(WORDS[:25]), "", WORDS[3]], 12)
    assert windows.text == [0, 0, 0, 1, 2]
    inner = [number for ids in windows.ids[:3] for number in ids[1:-1]]
    assert inner == tokenizer(" ".join(WORDS[:25]), add_special_tokens=False)["input_ids"]
    assert max(map(len, windows.ids)) == 12


def test_a_text_that_is_too_long_loses_its_middle() -> None:
    tokenizer = word_tokenizer(WORDS)
    text = " ".join(WORDS[:30])
    assert without_middle(tokenizer, text, 32) == (text, False)
    cut, truncated = without_middle(tokenizer, text, 16)
    assert truncated
    assert cut.startswith(" ".join(WORDS[:5])) and cut.endswith(" ".join(WORDS[25:30]))
    assert len(tokenizer(cut)["input_ids"]) <= 16


@pytest.mark.parametrize(("kind", "ratio"), [("none", 1), ("root", 3), ("balanced", 9)])
def test_rare_labels_weigh_more(kind: str, ratio: float) -> None:
    labels = [0] * 9 + [1]
    weights = encoder.label_weights(labels, 2, kind)
    assert weights[1] / weights[0] == pytest.approx(ratio)
    assert sum(weights[label] for label in labels) / len(labels) == pytest.approx(1)


def test_what_was_trained_in_bfloat16_answers_as_its_files_do(study: Path, tmp_path: Path) -> None:
    """Thresholds are chosen by the answers of the one, and used on those of the other."""
    frame = samples(16, 1)
    texts = encoder.Texts(frame["text"].tolist(), frame["label"].tolist())
    recipe = EncoderRecipe(epochs=1, batch_size=8, dtype="bfloat16", patience=None)
    card = read_model_card(study / "results/models/tiny.json")
    job = encoder.FitJob(recipe, 1, texts, texts, "cpu", tmp_path / "checkpoints", card)
    fitted = encoder.fit_rival(job)
    fitted.save(tmp_path)
    again = encoder.load_rival(tmp_path, "cpu").answer(texts.texts).probabilities
    np.testing.assert_array_equal(fitted.answer(texts.texts).probabilities, again)


def test_train_with_one_label_is_refused(study: Path) -> None:
    for name in ("embedding", "encoder"):
        job = encoder.FitJob(
            recipe=None,
            seed=1,
            train=encoder.Texts(["a", "b"], ["L", "L"]),
            validation=encoder.Texts([], []),
            device="cpu",
            folder=study,
        )
        module = __import__(f"slingshot.rivals.{name}", fromlist=["fit_rival"])
        with pytest.raises(StudyError, match="train holds one label"):
            module.fit_rival(job)


def test_the_samples_have_words_that_the_tokenizer_knows() -> None:
    known = set(WORDS)
    frame: pd.DataFrame = samples(40, 1)
    assert all(set(text.split()) <= known for text in frame["text"])


@pytest.mark.parametrize(
    ("keys", "steps"), [({}, 4), ({"max_steps": 3}, 3), ({"max_steps": 50}, 4), ({"epochs": 0.5}, 1)]
)
def test_an_encoder_trains_until_the_first_of_its_limits(
    study: Path, tmp_path: Path, keys: dict[str, Any], steps: int
) -> None:
    """The Trainer's own max_steps would take the place of the epochs."""
    frame = samples(16, 1)
    texts = encoder.Texts(frame["text"].tolist(), frame["label"].tolist())
    recipe = EncoderRecipe.model_validate({"epochs": 2, "batch_size": 8, "patience": None, **keys})
    card = read_model_card(study / "results/models/tiny.json")
    fitted = encoder.fit_rival(encoder.FitJob(recipe, 1, texts, texts, "cpu", tmp_path / "checkpoints", card))
    assert fitted.training["steps"] == steps
