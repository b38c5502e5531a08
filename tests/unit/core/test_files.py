"""Folders of a study that nothing can be written to, and disks without room, in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from slingshot.core.disk import no_room
from slingshot.core.errors import StudyError
from slingshot.core.files import require_folders
from slingshot.deployment.archive import archive
from slingshot.report.workflow_picture import draw_workflow


def test_folders_that_are_none_are_named(tmp_path: Path) -> None:
    require_folders(str(tmp_path), str(tmp_path / "absent"))
    (tmp_path / "results").touch()
    with pytest.raises(StudyError, match="results must be a folder, and it is a file: move it away"):
        require_folders(str(tmp_path), str(tmp_path / "results"))
    (tmp_path / "linked").symlink_to("gone")
    with pytest.raises(StudyError, match="linked is a link to gone, which is missing"):
        require_folders(str(tmp_path / "linked"))


def test_a_folder_that_is_read_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(StudyError, match="cannot be written to, and even a dry run writes there"):
        require_folders(str(tmp_path))


@pytest.mark.parametrize(("number", "advice"), [(errno.ENOSPC, "free space there"), (errno.EROFS, "another folder")])
def test_only_a_full_disk_wants_space(tmp_path: Path, number: int, advice: str) -> None:
    words = no_room(tmp_path / "a.json", OSError(number, os.strerror(number)))
    assert words.startswith(f"{tmp_path}/a.json can't be written: {os.strerror(number)}") and advice in words
    assert ("free space" in words) == (number == errno.ENOSPC)


def test_a_name_that_promises_another_format_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"a\.zip: the name must end in \.tar\.gz or \.tgz"):
        archive(tmp_path, tmp_path / "a.zip")
    with pytest.raises(StudyError, match=r"dag\.png: the name must end in \.svg"):
        draw_workflow(tmp_path, "results/report.html", tmp_path / "dag.png")
