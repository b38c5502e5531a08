import re
import subprocess
import sys
from pathlib import Path

import pytest

from slingshot.data import icd10


@pytest.mark.parametrize("written", ["A04.7", "a047", " A047 ", "A04 .7"])
def test_every_way_to_write_a_code_is_one_code(written: str) -> None:
    assert icd10.normalize(written) == "A047"


def test_a_code_knows_its_place_in_the_tree() -> None:
    code = icd10.find("O321XX0")
    assert code is not None
    assert (code.category, code.block, code.chapter, code.billable) == ("O32", "O30-O48", "15", True)
    assert code.description == "Maternal care for breech presentation, not applicable or unspecified"
    assert [code.at(level) for level in ("code", "category", "block", "chapter")] == ["O321XX0", "O32", "O30-O48", "15"]


def test_a_parent_code_is_valid_but_not_billable() -> None:
    parent = icd10.find("E784")
    assert parent is not None
    assert not parent.billable


def test_a_block_of_one_category_is_not_confused_with_it() -> None:
    code = icd10.find("B20")
    assert code is not None
    assert (code.category, code.block, code.chapter) == ("B20", "B20", "1")
    assert icd10.describe("B20", "block") == "Human immunodeficiency virus [HIV] disease"


@pytest.mark.parametrize("name", ["", "1", "A00-A09", "Z", "Z9999", "A04.7", "É04", "250"])
def test_what_is_no_code_is_not_found(name: str) -> None:
    assert icd10.find(name) is None


def test_descriptions_come_without_the_range_they_cover() -> None:
    assert icd10.describe("1", "chapter") == "Certain infectious and parasitic diseases"
    assert icd10.describe("A00-A09", "block") == "Intestinal infectious diseases"
    with pytest.raises(KeyError):
        icd10.describe("Z9999", "code")


def test_every_code_hangs_together_with_its_ancestors() -> None:
    chapters, blocks, categories = (set(icd10.all_labels(level)) for level in ("chapter", "block", "category"))
    assert len(chapters) == 22
    for name in icd10.all_labels("code")[::97]:
        code = icd10.find(name)
        assert code is not None
        assert code.category in categories
        assert code.block in blocks
        assert code.chapter in chapters
        assert name.startswith(code.category)


def test_the_release_is_named_without_loading_the_code_set() -> None:
    """Loading takes a second, or two where garbage is collected meanwhile."""
    code = (
        "import sys; from slingshot.data.icd10 import code_set_version; print(code_set_version()); "
        "assert 'simple_icd_10_cm' not in sys.modules"
    )
    scripts = Path(__file__).parents[3] / "scripts"
    done = subprocess.run([sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"ICD-10-CM \d{4} \(\w+ \d{4}\), simple-icd-10-cm [\d.]+\n", done.stdout)
