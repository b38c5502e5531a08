"""What a file really is: an encoding that reads its bytes without a fault may still be the wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from slingshot.core.errors import StudyError
from tests.unit.data.reading import read, written


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii", "cp850"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_utf_8_is_not_read_in_another_encoding(tmp_path: Path, encoding: str, mark: str) -> None:
    path = written(tmp_path / "a.csv", f"{mark}text,label\nHüfte,x\n")
    with pytest.raises(StudyError, match=rf"a\.csv is UTF-8, not {encoding}: leave the key out"):
        read(path, encoding=encoding)


def test_latin_1_that_is_cp1252_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", "text,label\n„Hüfte“ – 3 €,x\n".encode("cp1252"))
    with pytest.raises(StudyError, match="set cp1252"):
        read(path, encoding="latin-1")
    assert read(path, encoding="cp1252")[0]["text"] == "„Hüfte“ – 3 €"
    assert read(written(path, "text,label\nHüfte,x\n".encode("latin-1")), encoding="latin-1")[0]["text"] == "Hüfte"
