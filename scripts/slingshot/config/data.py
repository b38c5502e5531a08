"""The section `data`: where the texts come from, what a label is, how samples are split."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, Tag, model_validator

from slingshot.config.base import (
    Count,
    Different,
    Encoding,
    HubId,
    Key,
    LabelSystem,
    Level,
    LocalPath,
    Revision,
    Seed,
    Share,
    Spec,
    tagged_by_key,
)

SplitName = Literal["train", "validation", "test"]

Column = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]

# What people write where nothing stands, whatever its case.
_WORDS = ("null", "none", "nan", "nat", "na", "n/a", "n.a.", "#n/a", "<na>", "-", "--", "\N{EM DASH}")

_WORKBOOK_ERRORS = ("#ref!", "#value!", "#name?", "#div/0!", "#num!", "#null!")

NULLS = (*_WORDS, *_WORKBOOK_ERRORS)

# How data sets name their splits.
SPLIT_NAMES: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "te"), "test"),
}


class HubData(Spec):
    """A data set of the Hugging Face hub."""

    hub: HubId = Field(description="data set id, e.g. Ahmad0067/MedSynth")
    revision: Revision = Field("main", description="commit, tag or branch; the commit is recorded in dataset.json")
    split: str | dict[SplitName, str] | None = Field(
        None,
        description="the hub's split to read; null: all of them; with `split.method: source` also ours to the hub's: "
        "{train: train, validation: dev, test: test}",
    )


class FileData(Spec):
    """A file, or a folder of shards, relative to the study: .csv, .tsv, .jsonl, .parquet, .xlsx, or packed."""

    path: LocalPath | dict[SplitName, LocalPath] = Field(
        description="file or folder, relative to the study's folder; with `split.method: source` one for each split: "
        "{train: a.csv, validation: b.csv, test: c.csv}"
    )
    separator: Literal[",", ";", "\t", "|"] | None = Field(
        None, description="between a line's fields; null: tab in .tsv, else comma"
    )
    encoding: Encoding = Field("utf-8", description="of CSV, TSV and JSON Lines, e.g. cp1252 or utf-16")
    sheet: str | None = Field(None, description="of a workbook; null: its only sheet with rows")


DataSource = Annotated[Annotated[HubData, Tag("hub")] | Annotated[FileData, Tag("path")], tagged_by_key("hub", "path")]


class Columns(Spec):
    """Which column holds what."""

    text: Column | Annotated[list[Column], Field(min_length=1), Different] = Field(
        "text", description="the dialogue; several columns are joined by a blank line"
    )
    label: Column = Field("label", description="the code or label")
    description: Column | None = Field(None, description="the label's description")
    group: Column | None = Field(None, description="what must not stand in two splits, e.g. a patient or a document")
    split: Column | None = Field(
        None, description="the split that the data set gives a row, for `split.method: column`"
    )

    @model_validator(mode="after")
    def _text_is_no_label(self) -> Columns:
        texts = [self.text] if isinstance(self.text, str) else self.text
        for key in ("label", "split"):
            name = getattr(self, key)
            if name is not None and name.strip() in {text.strip() for text in texts}:
                raise ValueError(f"text and {key} are both the column {name!r}: a text would be its own {key}")
        return self


class Split(Spec):
    """How samples are dealt to train, validation and test, or where the data set's own splits are found."""

    train: Share = Field(0.70, description="share of the samples, where they are dealt")
    validation: Share = Field(0.15, description="likewise")
    test: Share = Field(0.15, description="likewise")
    seed: Seed = Field(42, description="of the dealing and of max_samples")
    method: Literal["stratified", "hash", "column", "source"] = Field(
        "stratified",
        description="stratified: label shares are kept as far as the groups allow; "
        "hash: a group's split depends on its own text alone, so rows added elsewhere move nothing; "
        "column: as columns.split says; source: the hub's own splits, or one path for each split",
    )
    values: dict[str, SplitName] = Field(
        {},
        description="what columns.split (or the hub) calls our splits, where that is not train, dev, test",
    )
    drop_leaked: bool = Field(
        False,
        description="with given splits: drop from train what shares a group, text or near-duplicate with validation "
        "or test, and from validation what it shares with test; false: it is reported only",
    )
    validation_from_train: Share | None = Field(
        None, description="with given splits that lack validation: the share of train, by whole groups, that becomes it"
    )
    near_duplicate_similarity: Annotated[Share, Field(gt=0)] | None = Field(
        0.8, description="texts whose word 5-grams share this Jaccard similarity form one group; null: off"
    )

    @property
    def given(self) -> bool:
        """Whether the data set itself says which split a row is of."""
        return self.method in ("column", "source")

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ValueError(f"train, validation and test must add up to 1, not {total:g}")
        if not self.given and (self.drop_leaked or self.values or self.validation_from_train):
            key = "drop_leaked" if self.drop_leaked else "values" if self.values else "validation_from_train"
            raise ValueError(f"{key} is for the splits that a data set brings: set method to column or source")
        shares = {key: getattr(self, key) for key in ("train", "validation", "test")}
        if self.given and any(share != Split.model_fields[key].default for key, share in shares.items()):
            raise ValueError(
                f"train, validation and test are shares of samples that are dealt, and method: {self.method} takes the "
                "data set's own splits: leave them out"
            )
        if self.validation_from_train in (0, 1):
            raise ValueError("validation_from_train must be more than 0 and less than 1")
        return self


class MaxSamples(Spec):
    """At most N samples per split; a larger number extends the smaller one's sample."""

    train: Count | None = Field(None, description="null: all")
    validation: Count | None = Field(None, description="null: all")
    test: Count | None = Field(None, description="null: all")


class ExternalSet(Spec):
    """A further test set, e.g. of another hospital: answered and scored by every arm, never trained or chosen on."""

    source: DataSource
    columns: Columns | None = Field(None, description="null: as data.columns")
    labels: LabelSystem | None = Field(None, description="null: as data.labels; its labels must mean the study's")
    max_samples: Count | None = Field(None, description="null: all")


class Several(Spec):
    """A sample has a set of labels: a list, a JSON list in a cell, or a cell with a separator."""

    separator: str | None = Field(None, min_length=1, description='between the labels of a cell, e.g. ";"; null: none')
    allow_empty: bool = Field(False, description="keep samples without any label; false: they are dropped")


class Data(Spec):
    """Where the dialogues come from and what a label is."""

    source: DataSource = Field(description="a data set of the hub, or a file or folder")
    columns: Columns = Field(Columns(), description="which column holds what")
    labels: LabelSystem = Field(
        "icd10cm",
        description="icd10cm: checked against the code set; plain: any; {tree: file.csv}: your own code tree",
    )
    level: Level = Field("code", description="the target's level in the code tree")
    several: Several | None = Field(
        None,
        description="a sample has a set of labels, {} for the defaults; null: one",
    )
    split: Split = Field(Split(), description="how samples are dealt, or which split each is given")
    max_samples: MaxSamples = Field(MaxSamples(), description="take part of each split")
    test_sets: dict[Key, ExternalSet] = Field({}, description="further test sets by name")
    nulls: list[str] = Field(
        list(NULLS),
        description="what is written where nothing stands, in any column; []: nothing is",
    )
    mask_label_mentions: bool = Field(
        False, description="blank a sample's own code or plain label as ___ where its text prints it"
    )
    drop_closing_turn: bool = Field(
        False, description="drop the last turn of a dialogue if it states the sample's own label or description"
    )
    max_dropped_share: Share = Field(0.05, description="more dropped rows than this is an error")

    @model_validator(mode="after")
    def _plain_labels_have_no_tree(self) -> Data:
        if self.labels == "plain" and self.level != "code":
            raise ValueError(f"level must be code with plain labels, not {self.level}: they have no tree")
        return self

    @model_validator(mode="after")
    def _given_splits_are_found(self) -> Data:
        method, source = self.split.method, self.source
        parted = not isinstance(source.path if isinstance(source, FileData) else source.split, str | None)
        if parted and method != "source":
            raise ValueError("split.method must be source where the source names a file or hub split for each split")
        if method == "source" and not parted and (isinstance(source, FileData) or source.split is not None):
            raise ValueError("split.method: source needs source.path or source.split as {train: ..., test: ...}")
        if method == "source" and parted:
            self._refuse_parts()
        if method == "column" and self.columns.split is None:
            raise ValueError("split.method: column needs columns.split, the column that says which split a row is of")
        if method != "column" and self.columns.split is not None:
            raise ValueError("columns.split is read with split.method: column alone")
        return self

    def _refuse_parts(self) -> None:
        """Refuse a split without a file, and one file for two splits."""
        key = "path" if isinstance(self.source, FileData) else "split"
        parts = getattr(self.source, key)
        for split in ("train", "validation", "test"):
            dealt = split == "validation" and self.split.validation_from_train is not None
            if split not in parts and not dealt:
                fix = " or set split.validation_from_train" if split == "validation" else ""
                raise ValueError(f"source.{key} names nothing for {split}: name it{fix}")
        for one, other in combinations(parts, 2):
            if parts[one] == parts[other]:
                raise ValueError(f"source.{key} names {parts[one]!r} for {one} and for {other}: each needs its own")

    @model_validator(mode="after")
    def _test_sets_have_one_part(self) -> Data:
        for name, test_set in self.test_sets.items():
            if test_set.columns is not None and test_set.columns.split is not None:
                raise ValueError(f"test_sets.{name}.columns.split: a further test set has no splits; remove the key")
            source = test_set.source
            if isinstance(source.path if isinstance(source, FileData) else source.split, dict):
                raise ValueError(f"test_sets.{name}.source is one file, folder or hub split, not several")
            if ((test_set.labels or self.labels) == "plain") != (self.labels == "plain"):
                raise ValueError(f"test_sets.{name}.labels must be plain exactly where data.labels is")
        return self
