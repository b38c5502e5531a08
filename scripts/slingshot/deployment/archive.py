"""A study in one file, to hand over: everything that its report rests on, without weights, with a digest of each file.

Unpacked elsewhere, `snakemake report_available` makes the report from it, and refuses files that were changed.
"""

from __future__ import annotations

import io
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.manifest import Manifest, PackedFile
from slingshot.artifacts.splits import SCHEMA, SPLITS
from slingshot.config.arms import arms_of
from slingshot.config.study import Study, load_study
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing, require_suffix
from slingshot.core.hashing import digest_of_bytes, digest_of_file
from slingshot.deployment.commands import command_for

log = logging.getLogger(__name__)

CONFIG = "config.yaml"


def archive(study_folder: Path, target: Path) -> None:
    """Write the archive, whole or not at all.

    Raises:
        StudyError: the study has no results yet, or the target's name is not that of such an archive.
    """
    require_suffix(target, ".tar.gz", ".tgz")
    study = load_study(study_folder / CONFIG)
    results = ResultFiles(study_folder / "results")
    paths = [path for path in files_of_study(study, study_folder, results) if path.is_file()]
    if results.comparison not in paths:
        command = command_for(results, results.report)
        raise StudyError(f"{results.comparison} is missing: run `{command}` before archiving")
    keeps_texts = study.report.archive_texts
    packed: dict[str, PackedFile] = {}
    with replacing(target) as temporary, tarfile.open(temporary, "w:gz") as tar:
        for path in paths:
            name = path.relative_to(study_folder).as_posix()
            content = path.read_bytes()
            original = digest_of_file(path)
            if not keeps_texts and path in _files_with_texts(results):
                content = without_texts(content)
            packed[name] = PackedFile(sha256=digest_of_bytes(content), original=original)
            _add(tar, name, content)
        manifest = Manifest(texts=keeps_texts, files=packed)
        _add(tar, results.manifest.relative_to(study_folder).as_posix(), manifest.model_dump_json(indent=1).encode())
    log.info("%d files in %s%s", len(packed), target, "" if keeps_texts else ", without texts")


def files_of_study(study: Study, folder: Path, results: ResultFiles) -> Iterator[Path]:
    """What a report rests on: config, prompts, splits, and each arm's answers, scores and records; no weights."""
    yield folder / CONFIG
    yield from _prompts(study, folder)
    yield from (results.data.dataset, results.data.labels, *(results.data.split(name) for name in SPLITS))
    yield from (results.comparison, results.results, results.report)
    yield from (results.model_card(name) for name in study.fetched)
    for arm in arms_of(study):
        yield from _files_of_arm(results.arm(arm.path))


def _prompts(study: Study, folder: Path) -> Iterator[Path]:
    """The prompt files that stand in the study's folder: an archive is unpacked into one. Records hold each prompt."""
    own = {model.prompt.file for model in study.models.values()} | {arm.prompt for arm in arms_of(study)}
    for name in sorted(filter(None, own)):
        path = Path(os.path.normpath(folder / name))
        if path.is_relative_to(os.path.normpath(folder)):
            yield folder / path.relative_to(os.path.normpath(folder))
        else:
            log.warning("%s stands outside the study's folder and is not packed", name)


def _files_of_arm(files: ArmFiles) -> Iterator[Path]:
    yield from (files.predictions, files.metrics, files.validation.predictions, files.training, files.training_log)
    for step in ("finetune", "predict"):
        yield from (files.record(step), files.process(step))


def _files_with_texts(results: ResultFiles) -> list[Path]:
    return [*(results.data.split(name) for name in SPLITS), results.report]


def without_texts(content: bytes) -> bytes:
    """A split with empty texts; a page is left out whole, since the error browser shows texts."""
    if not content.startswith(b"PAR1"):
        return b"<!doctype html><title>left out</title><p>The report was left out with the texts of the study."
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    at = table.column_names.index("text")
    blank = pyarrow.array([""] * table.num_rows, pyarrow.string())
    written = io.BytesIO()
    pyarrow.parquet.write_table(table.set_column(at, SCHEMA.field("text"), blank), written)
    return written.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file without owner or time, so that the same study gives the same archive."""
    entry: Any = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
