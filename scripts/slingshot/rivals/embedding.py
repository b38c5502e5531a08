"""Arms that embed a text with a network as it was fetched, and classify the vector with a linear classifier.

The network is an encoder or a language model; its hidden states are pooled to one vector per window of a text, the
windows' vectors are averaged. The classifier is scikit-learn's multinomial logistic regression over standardized
vectors; where a text has several labels, one logistic regression per label. Its settings are chosen on validation.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slingshot.artifacts.model_card import ModelCard, read_model_card
from slingshot.artifacts.records import timed
from slingshot.config.rivals import EmbeddingSettings
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json_with, write_json
from slingshot.core.progress import progress
from slingshot.core.terminal import step_name
from slingshot.models.loading import load_network
from slingshot.models.number_types import number_type
from slingshot.rivals.kept_objects import read_object, write_object
from slingshot.rivals.pipeline import Answered, FitJob, Texts
from slingshot.rivals.set_answers import best_threshold
from slingshot.rivals.set_models import Logistic, fit_logistic
from slingshot.rivals.token_windows import (
    TOKENS_PER_BATCH,
    batches_by_length,
    longest_input,
    padded_tokenizer,
    windows_of,
)

log = logging.getLogger(__name__)

Vectors = NDArray[np.float32]

UNCHOSEN = 0.01  # C where there is no validation split: the nearest to this of those that would be tried

ITERATIONS = 500


@dataclass
class Embedder:
    """A network that turns texts into vectors."""

    card: ModelCard
    settings: EmbeddingSettings
    tokenizer: Any
    network: Any
    device: str

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, list[int]]:
        """Vectors of shape (texts, width), and each text's tokens over all its windows."""
        import torch

        length = longest_input(self.card, self.settings.max_tokens)
        windows = windows_of(self.tokenizer, [self.settings.prefix + text for text in texts], length)
        vectors = np.zeros((len(windows.ids), self.network.config.hidden_size), np.float32)
        with progress(step_name("embedding"), len(windows.ids), "windows") as meter:
            for places in batches_by_length(windows.ids, TOKENS_PER_BATCH[self.device]):
                rows = [windows.ids[place] for place in places]
                inputs = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self.device)
                with torch.inference_mode():
                    hidden = self.network(**inputs).last_hidden_state.float()
                    vectors[places] = pooled(hidden, inputs["attention_mask"], self.settings.pooling).cpu().numpy()
                meter.advance(len(places), sum(map(len, rows)))
        summed = np.zeros((len(texts), vectors.shape[1]), np.float64)
        np.add.at(summed, windows.text, vectors)
        counts = np.bincount(windows.text, minlength=len(texts))
        tokens = np.bincount(windows.text, weights=[len(ids) for ids in windows.ids], minlength=len(texts))
        return (summed / counts[:, None]).astype(np.float32), tokens.astype(int).tolist()


def pooled(hidden: Any, mask: Any, pooling: str) -> Any:
    """One vector per row from hidden states of shape (rows, tokens, width), padded on the right, of length 1."""
    import torch

    if pooling == "cls":
        chosen = hidden[:, 0]
    elif pooling == "last":
        chosen = hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1]
    else:
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        chosen = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return torch.nn.functional.normalize(chosen, dim=1)


def load_embedder(card: ModelCard, settings: EmbeddingSettings, device: str) -> Embedder:
    """Load the network that a card names, in evaluation mode.

    The embedder's settings, which are kept, name the type that `auto` became: another machine embeds in it, too.
    """
    import torch
    from transformers import AutoModel

    settings = settings.model_copy(update={"dtype": number_type(settings.dtype, device)})
    network = load_network(card, AutoModel, getattr(torch, settings.dtype))
    return Embedder(card, settings, padded_tokenizer(card.folder), network.to(device), device)


@dataclass(frozen=True)
class FittedEmbedding:
    """A classifier of embedded texts as an arm: a slingshot.rivals.pipeline.Fitted."""

    embedder: Embedder
    scaler: Any
    classifier: Any
    card_path: Path
    training: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        return [str(label) for label in self.classifier.classes_]

    def answer(self, texts: Sequence[str]) -> Answered:
        vectors, tokens = self.embedder.embed(texts)
        return Answered(self.classifier.predict_proba(self.scaler.transform(vectors)), tokens, [False] * len(texts))

    def save(self, folder: Path) -> None:
        """The network itself stays where its card says; the card is named by its path from here."""
        kept = self.classifier.kept if isinstance(self.classifier, OneAgainstRest) else self.classifier
        write_object(folder / "classifier.skops", [self.scaler, kept])
        card, settings = self.embedder.card, self.embedder.settings.model_dump(mode="json")
        network = {"card": os.path.relpath(self.card_path, folder), "revision": card.revision, "layers": card.layers}
        write_json(folder / "network.json", network | {"settings": settings})


def fit_rival(job: FitJob) -> FittedEmbedding:
    """Embed train and validation, and choose a classifier.

    Raises:
        StudyError: train holds one label only.
    """
    if len(job.train.names) < 2:
        raise StudyError("train holds one label; an embedding's classifier needs two or more")
    assert job.card is not None and job.card_path is not None
    settings = EmbeddingSettings.model_validate(job.recipe.model_dump(include=set(EmbeddingSettings.model_fields)))
    with timed(job.seconds, "load"):
        embedder = load_embedder(job.card, settings, job.device)
    with timed(job.seconds, "train"):
        vectors, tokens = embedder.embed(job.train.texts)
        held_out = embedder.embed(job.validation.texts)[0] if job.validation.texts else None
        if job.several:
            scaler, classifier, chosen = choose_for_sets(vectors, job.train, held_out, job.validation, settings)
        else:
            scaler, classifier, chosen = choose_classifier(
                vectors, job.train.labels, held_out, job.validation.labels, settings, job.seed
            )
    chosen |= {"trained_tokens": sum(tokens), "dtype": embedder.settings.dtype}
    return FittedEmbedding(embedder, scaler, classifier, job.card_path, chosen)


def choose_classifier(
    vectors: Vectors,
    labels: Sequence[str],
    held_out: Vectors | None,
    held_out_labels: Sequence[str],
    settings: EmbeddingSettings,
    seed: int,
) -> tuple[Any, Any, dict[str, Any]]:
    """The scaler, the classifier that is most often right on held-out vectors, of equals the first, and its settings.

    Strong regularization is tried first, so that it is preferred. Without held-out vectors nothing is chosen.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    strengths = _strengths(settings, held_out is not None)
    best: Any = None
    tried = []
    for weights, strength in product(settings.classifier.class_weights, strengths):
        model = LogisticRegression(
            C=strength,
            class_weight="balanced" if weights == "balanced" else None,
            max_iter=ITERATIONS,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a limit to iterations is a stopping rule
            model.fit(scaler.transform(vectors), np.asarray(labels))
        right = (
            None if held_out is None else float(np.mean(model.predict(scaler.transform(held_out)) == held_out_labels))
        )
        tried.append({"regularization": strength, "class_weights": weights, "validation_exact_match": right})
        log.info("C %g, class weights %s: %s right on validation", strength, weights, right)
        if best is None or (right is not None and right > best[1]["validation_exact_match"]):
            best = model, tried[-1]
    return scaler, best[0], {**best[1], "tried": tried}


def _strengths(settings: EmbeddingSettings, chosen: bool) -> list[float]:
    """Values of C, rising; one where there is nothing to choose it by."""
    strengths = sorted(settings.classifier.regularization)
    return strengths if chosen else [min(strengths, key=lambda strength: abs(np.log(strength / UNCHOSEN)))]


@dataclass(frozen=True)
class OneAgainstRest:
    """A logistic regression per label, as scikit-learn's classifiers are asked."""

    classes_: list[str]
    model: Logistic

    def predict_proba(self, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.model.probabilities(vectors)

    @property
    def kept(self) -> dict[str, Any]:
        """Arrays alone, from which it is made again."""
        return {"labels": self.classes_, "weights": self.model.weights, "intercepts": self.model.intercepts}


def choose_for_sets(
    vectors: Vectors, train: Texts, held_out: Vectors | None, validation: Texts, settings: EmbeddingSettings
) -> tuple[Any, OneAgainstRest, dict[str, Any]]:
    """As `choose_classifier`, for texts with several labels: by micro F1 at the best threshold on held-out vectors."""
    from sklearn.preprocessing import StandardScaler

    scaler, names = StandardScaler().fit(vectors), train.names
    scaled, true = scaler.transform(vectors).astype(float), train.indicators(names)
    best: Any = None
    tried = []
    for weights in settings.classifier.class_weights:
        model = None
        for strength in _strengths(settings, held_out is not None):
            model = fit_logistic(scaled, true, strength, weights == "balanced", model)
            f1 = None
            if held_out is not None:
                scores, total = model.probabilities(scaler.transform(held_out)), sum(map(len, validation.sets or []))
                f1 = best_threshold(scores, validation.indicators(names), total)[1]
            tried.append({"regularization": strength, "class_weights": weights, "validation_micro_f1": f1})
            log.info("C %g, class weights %s: micro F1 %s on validation", strength, weights, f1)
            if best is None or (f1 is not None and f1 > best[1]["validation_micro_f1"]):
                best = model, tried[-1]
    return scaler, OneAgainstRest(names, best[0]), {**best[1], "tried": tried}


def load_rival(folder: Path, device: str) -> FittedEmbedding:
    """Read what FittedEmbedding.save wrote, and the network from its card.

    Raises:
        StudyError: the files are not there, or the network is another than the classifier was fitted with.
    """
    kept = read_json_with(folder / "network.json", "card", "revision", "settings")
    card_path = folder / kept["card"]
    card = read_model_card(card_path)
    layers = kept.get("layers", card.layers)
    if (card.revision, card.layers) != (kept["revision"], layers):
        raise StudyError(
            f"{folder} was fitted with revision {kept['revision']} of {card.name} in {layers} layers, and {card_path} "
            f"is {card.revision} in {card.layers}: run the arm's fit step again"
        )
    scaler, classifier = read_object(folder / "classifier.skops")
    if isinstance(classifier, dict):
        model = Logistic(classifier["weights"], classifier["intercepts"])
        classifier = OneAgainstRest([str(label) for label in classifier["labels"]], model)
    embedder = load_embedder(card, EmbeddingSettings.model_validate(kept["settings"]), device)
    return FittedEmbedding(embedder, scaler, classifier, card_path, {})
