"""The sections of arms that are no language model that writes: `embedding`, `encoder`, `predictions`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from slingshot.config.base import MOST_TOKENS, Count, Different, Dtype, Share, Spec
from slingshot.config.models import FetchedNetwork


class TfidfRecipe(Spec):
    """Words and pairs of words, weighted, with a linear classifier; rivals/tfidf.py chooses its settings."""

    rival: Literal["tfidf"] = "tfidf"


class LinearClassifier(Spec):
    """scikit-learn's logistic regression, multinomial, over standardized vectors; the best on validation is taken."""

    regularization: Annotated[list[Annotated[float, Field(gt=0, le=1e9)]], Different] = Field(
        default=[0.0001, 0.001, 0.01, 0.1, 1.0], min_length=1, description="values of C that are tried"
    )
    class_weights: Annotated[list[Literal["none", "balanced"]], Different] = Field(
        default=["none"],
        min_length=1,
        description="what is tried: each sample counts the same, or as the inverse of its label's frequency",
    )


class EmbeddingSettings(Spec):
    """How texts become vectors, and what is tried on them."""

    pooling: Literal["mean", "cls", "last"] = Field(
        "mean", description="which hidden states make a vector: the mean over tokens, the first token, the last one"
    )
    prefix: str = Field("", description="put before each text; some embedding models are trained with one")
    max_tokens: int = Field(
        256,
        ge=16,
        le=MOST_TOKENS,
        description="tokens per window; a longer text has several, whose vectors are averaged",
    )
    classifier: LinearClassifier = LinearClassifier()
    dtype: Dtype = Field(
        "float32",
        description="number type of the network's weights; auto: bfloat16 on devices that multiply it, else float16 on "
        "a GPU, float32 on a processor",
    )


class EncoderSettings(Spec):
    """How a network is finetuned whole with a classification head (transformers' Trainer)."""

    epochs: float = Field(10, gt=0, le=10_000, description="passes over train at most")
    learning_rate: float = Field(5e-5, gt=0, le=10, description="the highest rate; it falls linearly after the warm-up")
    warmup_share: Share = Field(0.1, description="share of all steps over which the rate rises from 0")
    batch_size: int = Field(16, ge=1, le=1_000_000, description="samples per optimizer step")
    weight_decay: float = Field(0.01, ge=0, le=100, description="of AdamW")
    max_tokens: int = Field(512, ge=16, le=MOST_TOKENS, description="a longer text loses its middle")
    class_weights: Literal["none", "balanced", "root"] = Field(
        "none",
        description="what a sample counts in the loss: the same; the inverse of its label's frequency; its square root",
    )
    patience: Count | None = Field(3, description="stop after N epochs without gain on validation; null: never")
    max_steps: Count | None = Field(None, description="stop after N optimizer steps")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "float32",
        description="number type of the forward pass, the weights that are trained stay in float32; auto: bfloat16 on "
        "devices that multiply it, else float32",
    )


class EmbeddingRecipe(EmbeddingSettings):
    rival: Literal["embedding"] = "embedding"


class EncoderRecipe(EncoderSettings):
    rival: Literal["encoder"] = "encoder"


Recipe = Annotated[TfidfRecipe | EmbeddingRecipe | EncoderRecipe, Field(discriminator="rival")]


class LoadedNetwork(FetchedNetwork):
    """A network whose hidden states are needed, and so its weights."""

    @model_validator(mode="after")
    def _has_weights(self) -> LoadedNetwork:
        if self.is_asked:
            raise ValueError("is behind an endpoint, which gives no hidden states: name a source with weights")
        return self


class Embedding(EmbeddingSettings, LoadedNetwork):
    """Texts embedded by an encoder or by a language model's hidden states, with a linear classifier."""


class Encoder(EncoderSettings, LoadedNetwork):
    """An encoder finetuned whole with a classification head."""


class PredictionColumns(Spec):
    """Columns of a file of answers."""

    sample_id: str | None = Field(None, description="the study's own ids, as in predictions.jsonl; null: by text")
    text: str | None = Field(None, description="the dialogue; answers are matched by their text")
    answer: str = Field("answer", description="the code or label that was given; empty: none")
    separator: str = Field(
        ";", min_length=1, description="between the codes of an answer that is no list, where samples have several"
    )
    candidates: str | None = Field(
        None, description="further answers, the best first: separated by blanks, or pairs `code:probability`"
    )

    @model_validator(mode="after")
    def _names_what_samples_are_matched_by(self) -> PredictionColumns:
        if (self.sample_id is None) == (self.text is None):
            raise ValueError("needs sample_id or text, the column that answers are matched by, and not both")
        return self

    @property
    def key(self) -> str:
        """The column that answers are matched by."""
        return self.sample_id or self.text or ""

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [self.key, self.answer, *([self.candidates] if self.candidates else [])]


class ImportedPredictions(Spec):
    """Answers of any system, or of a second human coder, read from a file."""

    file: str = Field(description="CSV, TSV, JSON Lines, Parquet or a workbook, relative to the study's folder")
    columns: PredictionColumns = PredictionColumns(sample_id="sample_id")
    name: str | None = Field(None, description="the name in tables and pictures; null: the key")
    human: bool = Field(False, description="a human coder: the agreement is shown as the ceiling")
    allow_missing: bool = Field(False, description="a sample without an answer counts as wrong instead of an error")
    test_sets: dict[str, str] = Field(
        default={}, description="likewise a file for each of data.test_sets that the system answered"
    )
