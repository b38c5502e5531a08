"""The code digest changes with what the code means, and with nothing else."""

import pytest

from slingshot.core import code_digest as provenance
from slingshot.core.code_digest import code_digest
from slingshot.core.environment import versions


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A program over two modules of a package, one of which it imports only through the other."""
    package = tmp_path / "slingshot"
    for room in ("above", "below", "core"):
        (package / room).mkdir(parents=True)
    (tmp_path / "step.py").write_text("def main():\n    from slingshot.above.upper import f\n    return f()\n")
    (package / "above/upper.py").write_text(
        '"""Doc."""\nfrom slingshot.below import lower\n\ndef f():\n    """Doc."""\n    return lower.g()\n'
    )
    (package / "below/lower.py").write_text("def g():\n    return 1\n")
    (package / "below/stranger.py").write_text("x = 1\n")
    (package / "core/progress.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", package)
    return tmp_path


def digest(house):
    provenance._tree.cache_clear()
    provenance._meaning.cache_clear()
    return code_digest(house / "step.py")


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("slingshot/below/lower.py", "return 1", "return 2", False),
        ("slingshot/below/lower.py", "return 1", "return 1  # one", True),
        ("slingshot/below/lower.py", "return 1", '"""Docstring."""\n    return 1', True),
        ("slingshot/below/lower.py", "return 1", "return (1)", True),
        ("slingshot/above/upper.py", '"""Doc."""', '"""Another."""', True),
        ("slingshot/above/upper.py", "lower.g()", "lower.g() + 1", False),
        ("slingshot/below/stranger.py", "x = 1", "x = 2", True),
        ("slingshot/core/progress.py", "x = 1", "x = 2", True),
        ("step.py", "return f()", "return f() or 1", False),
    ],
)
def test_a_change_of_meaning_and_only_that_changes_the_digest(house, file, old, new, same):
    before = digest(house)
    path = house / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert (digest(house) == before) == same


def test_a_changed_template_changes_the_digest(house):
    folder = house / "slingshot/below/template"
    folder.mkdir()
    (folder / "page.html").write_text("one")
    before = digest(house)
    (folder / "page.html").write_text("two")
    assert digest(house) != before


def test_every_module_named_as_without_effect_exists():
    assert all(
        (provenance.PACKAGE / f"{name}.py").exists() or (provenance.PACKAGE / name).is_dir()
        for name in provenance.WITHOUT_EFFECT
    )


def test_the_step_programs_own_modules_are_found_through_their_imports():
    names = {
        path.relative_to(provenance.PACKAGE).as_posix()
        for path in provenance.imported_modules(provenance.PACKAGE.parent / "finetune.py")
    }
    assert {"training/finetune.py", "prompting/prompter.py", "models/loading.py"} <= names
    assert not any(name.startswith(("report/", "analysis/", "runtime/")) for name in names)


def test_versions_name_what_results_depend_on():
    assert {"python", "torch", "transformers"} <= set(versions())
