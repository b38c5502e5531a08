"""The section `data`: where the texts come from, what a label is, how samples are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from slingshot.config.base import LabelSystem, Level, Share, Spec, tagged_by_key


class HubData(Spec):
    """A data set of the Hugging Face hub."""

    hub: str = Field(description="data set id, e.g. Ahmad0067/MedSynth")
    revision: str = Field("main", description="commit, tag or branch; the commit is recorded in dataset.json")
    split: str | None = Field(None, description="the hub's split to read; null: all of them")


class FileData(Spec):
    """A file, or a folder of shards, relative to the study: .csv, .tsv, .jsonl, .parquet."""

    path: str = Field(description="file or folder, relative to the study's folder")


DataSource = Annotated[Annotated[HubData, Tag("hub")] | Annotated[FileData, Tag("path")], tagged_by_key("hub", "path")]


class Columns(Spec):
    """Which column holds what."""

    text: str | list[str] = Field("text", description="the dialogue; several columns are joined by a blank line")
    label: str = Field("label", description="the code or label")
    description: str | None = Field(None, description="the label's description")
    group: str | None = Field(None, description="what must not stand in two splits, e.g. a patient or a document")


class Split(Spec):
    """How samples are dealt to train, validation and test."""

    train: Share = Field(0.70, description="share of the samples")
    validation: Share = Field(0.15, description="share of the samples")
    test: Share = Field(0.15, description="share of the samples; the three add up to 1")
    seed: int = Field(42, description="of the split; another one deals other samples to test")
    method: Literal["stratified", "hash"] = Field(
        "stratified",
        description="stratified: label shares are kept as far as the groups allow; "
        "hash: a group's split depends on its own text alone, so rows added elsewhere move nothing",
    )
    near_duplicate_similarity: Share | None = Field(
        0.8, description="texts whose word 5-grams share this Jaccard similarity form one group; null: off"
    )

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        return self


class MaxSamples(Spec):
    """At most N samples per split; a larger N extends the smaller one's sample."""

    train: int | None = Field(None, ge=1, description="null: all")
    validation: int | None = Field(None, ge=1, description="null: all")
    test: int | None = Field(None, ge=1, description="null: all")


class Data(Spec):
    """Where the dialogues come from and what a label is."""

    source: DataSource
    columns: Columns = Columns()
    labels: LabelSystem = Field("icd10cm", description="icd10cm: checked against the code set; plain: any")
    level: Level = Field("code", description="the target's level in the code tree")
    split: Split = Split()
    max_samples: MaxSamples = MaxSamples()
    mask_label_mentions: bool = Field(False, description="blank a sample's own code where its text prints it")
    max_dropped_share: Share = Field(0.05, description="more dropped rows than this is an error")

    @model_validator(mode="after")
    def _plain_labels_have_no_tree(self) -> Data:
        if self.labels == "plain" and self.level != "code":
            raise ValueError(f"level must be code with plain labels, not {self.level}: only ICD-10-CM has a tree")
        return self
