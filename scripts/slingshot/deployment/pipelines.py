"""Arms that write nothing, exported: the fitted pipeline and the network that it needs, in files without code."""

from __future__ import annotations

import shutil
from pathlib import Path

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.predictions import SET_SEPARATOR, read_predictions
from slingshot.artifacts.splits import read_samples
from slingshot.config.arms import Arm
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json, write_json, write_text
from slingshot.deployment.card import (
    EMBEDDING_LICENCE,
    FITTED_LICENCE,
    MODEL_LICENCE,
    FolderOrigin,
    card_of_export,
    use_of_pipeline,
)
from slingshot.deployment.compared_answers import ComparedAnswers, reason_of_embedding
from slingshot.deployment.plain import encode_plainly
from slingshot.rivals.pipeline import load_fitted, read_pipeline
from slingshot.rivals.set_answers import answered_sets

NETWORK = "network"  # folder of the network that an embedding's classifier needs

WORDS_OF_TEXTS = (
    "the TF-IDF pipeline holds words and pairs of words of the train texts: it is as confidential as these are"
)


def write_pipeline(
    target: Path, arm: Arm, files: ArmFiles, results: ResultFiles, check: int
) -> tuple[list[str], str | None]:
    """Write the folder, and answer test samples with it; returns the notes of its card, and a doubt of its scores.

    Raises:
        StudyError: there is no pipeline, or an answer differs from the study's.
    """
    if not files.fitted.is_dir():
        raise StudyError(f"{arm.path} has no weights and no fitted pipeline of its own: there is nothing to export")
    copy_pipeline(files.fitted, target)
    rival = read_pipeline(target).rival
    notes, doubt = [WORDS_OF_TEXTS] if rival == "tfidf" else [], None
    if check:
        agreement = compare_answers(target, files, results, check)
        notes.append(agreement.note)
        doubt = agreement.doubt
    origin = origin_of(rival, read_model_card(results.model_card(arm.model)) if arm.has_weights else None)
    write_text(target / "README.md", card_of_export(arm, origin, files, results, use_of_pipeline(), notes, doubt))
    return notes, doubt


def origin_of(rival: str, card: ModelCard | None) -> FolderOrigin:
    """What a pipeline was made from; `card`: of its network, which only an encoder trained."""
    if rival == "encoder":
        return FolderOrigin(card, "transformers", MODEL_LICENCE)
    if rival == "embedding":
        return FolderOrigin(card, None, EMBEDDING_LICENCE, "untrained, with a classifier fitted on its embeddings")
    return FolderOrigin(None, None, FITTED_LICENCE, "with a classifier fitted on the train texts")


def copy_pipeline(fitted: Path, target: Path) -> None:
    """Copy a fitted pipeline so that it needs nothing of the study: an embedding's network comes with it."""
    shutil.copytree(fitted, target)
    rival = read_pipeline(target).rival
    if rival == "embedding":
        _copy_network(fitted, target)
    if rival == "encoder":
        _name_labels(target)


def _copy_network(fitted: Path, target: Path) -> None:
    """Put the network of an embedding beside its classifier, which then names it there."""
    kept = read_json(fitted / "network.json")
    card = read_model_card(fitted / kept["card"])
    (target / NETWORK).mkdir()
    for name in card.files:
        shutil.copyfile(Path(card.folder) / name, target / NETWORK / name)
    card.model_copy(update={"folder": NETWORK}).write(target / "model.json")
    write_json(target / "network.json", {**kept, "card": "model.json"})


def _name_labels(target: Path) -> None:
    """Say in an encoder's config what its classes are called."""
    labels = read_json(target / "classes.json")["labels"]
    config = read_json(target / "config.json")
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    write_json(target / "config.json", config)


def compare_answers(target: Path, files: ArmFiles, results: ResultFiles, count: int) -> ComparedAnswers:
    """Answer test samples with the exported folder alone, an encoder by plain transformers.

    Raises:
        StudyError: an answer differs, of what answers in float32.
    """
    rival, rule = read_pipeline(target).rival, read_pipeline(target).sets
    expected = {each.sample_id: each for each in read_predictions(files.predictions)}
    samples = read_samples(results.data.test, ("sample_id", "text"))
    by = "this folder"
    plainly = rival == "encoder" and rule is None  # transformers has no rule that makes a set of probabilities
    if plainly:
        by = "plain transformers"
        samples = [sample for sample in samples if not expected[sample["sample_id"]].truncated]
    samples = samples[:count]
    texts = [sample["text"] for sample in samples]
    if plainly:
        found = encode_plainly(target, texts, read_json(target / "classes.json")["length"])
    else:
        fitted = load_fitted(target)
        probabilities = fitted.answer(texts).probabilities
        if rule is None:
            found = [fitted.labels[place] for place in probabilities.argmax(axis=1)]
        else:
            found = [SET_SEPARATOR.join(codes) for codes in answered_sets(probabilities, fitted.labels, rule)]
    unlike = sum(label != expected[sample["sample_id"]].code for sample, label in zip(samples, found, strict=True))
    dtype = read_json(target / "network.json")["settings"]["dtype"] if rival == "embedding" else "float32"
    if unlike and dtype == "float32":  # in 16 bits an answer may hang on the other texts of its batch
        raise StudyError(f"{unlike} of {len(samples)} answers of {target} differ from {files.predictions}")
    return ComparedAnswers(len(samples) - unlike, len(samples), by, reason_of_embedding(dtype))
