"""An export takes the place of an earlier export and of nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slingshot.core.errors import StudyError
from slingshot.core.files import let_others_read
from slingshot.deployment.card import ORIGIN
from slingshot.deployment.export import ExportJob, export, refuse_other_folder


@pytest.mark.parametrize("files", [{"study.csv": "x"}, {"README.md": "my models", "config.json": "{}"}])
def test_a_folder_of_other_files_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, Path()):
        with pytest.raises(StudyError, match="holds other files than an export, which would be lost"):
            export(ExportJob(study=tmp_path / "study", arm="slm/small", folder=folder))
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    with pytest.raises(StudyError, match="is a file: name a folder"):
        refuse_other_folder(next(tmp_path.iterdir()))


def test_an_empty_folder_a_new_one_and_an_earlier_export_are_taken(tmp_path: Path) -> None:
    refuse_other_folder(tmp_path)
    refuse_other_folder(tmp_path / "new")
    (tmp_path / "README.md").write_text(f"The arm `slm/a` {ORIGIN}; base model b.")
    (tmp_path / "model.safetensors").touch()
    refuse_other_folder(tmp_path)
    (tmp_path / "study").mkdir()  # somebody's own, beside the export's files
    with pytest.raises(StudyError, match="holds other files than an export"):
        refuse_other_folder(tmp_path)


def test_files_are_readable_as_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/model.safetensors").touch(0o600)
    before = os.umask(0o027)
    try:
        let_others_read(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "inner/model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_file_of_predictions_cannot_be_exported(tmp_path: Path) -> None:
    """It must not be said to have no results yet: no run would make them."""
    (tmp_path / "config.yaml").write_text(
        "data: {source: {path: a.csv}, labels: plain}\npredictions: {vendor: {file: v.csv}}\n"
    )
    with pytest.raises(StudyError, match="predictions/vendor is a file of predictions: there is nothing to export"):
        export(ExportJob(study=tmp_path, arm="predictions/vendor", folder=tmp_path / "out"))
