"""The code digest changes with what the code means, and with nothing else."""

import ast

import pytest

from slingshot.core import code_digest as code_digest_module
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
    monkeypatch.setattr(code_digest_module, "PACKAGE", package)
    return tmp_path


def digest(house):
    """By a memory, and the same without one."""
    found = code_digest(house / "step.py", house / "memory.json")
    code_digest_module.SourceReader._kept.clear()
    assert found == code_digest(house / "step.py")
    return found


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


def test_what_is_remembered_is_not_parsed_again(house, monkeypatch):
    first = digest(house)
    with monkeypatch.context() as patch:
        patch.setattr(code_digest_module, "_parse", lambda *_: pytest.fail("parsed"))
        code_digest_module.SourceReader._kept.clear()
        assert code_digest(house / "step.py", house / "memory.json") == first
    (house / "memory.json").write_text('{"cut')
    assert digest(house) == first


def test_a_changed_template_changes_the_digest(house):
    folder = house / "slingshot/below/template"
    folder.mkdir()
    (folder / "page.html").write_text("one")
    before = digest(house)
    (folder / "page.html").write_text("two")
    assert digest(house) != before


def test_every_module_named_as_without_effect_exists():
    assert all(
        (code_digest_module.PACKAGE / f"{name}.py").exists() or (code_digest_module.PACKAGE / name).is_dir()
        for name in code_digest_module.WITHOUT_EFFECT
    )


def test_the_step_programs_own_modules_are_found_through_their_imports():
    names = {
        path.relative_to(code_digest_module.PACKAGE).as_posix()
        for path in code_digest_module.imported_modules(code_digest_module.PACKAGE.parent / "finetune.py")
    }
    assert {"training/finetune.py", "prompting/prompter.py", "models/loading.py"} <= names
    assert not any(name.startswith(("report/", "analysis/", "runtime/")) for name in names)


def test_versions_name_what_results_depend_on():
    assert {"python", "torch", "transformers"} <= set(versions())


# What a module must not do whose code counts nowhere: nothing here may decide a byte of a result.
DECIDES_BYTES = {"hashlib", "random", "numpy", "torch", "transformers", "jinja2", "re", "unicodedata", "pandas"}

# Modules that use such a package for what changes no result, and what for.
HARMLESS = {
    "core/code_digest.py": "hashes the code itself",
    "core/environment.py": "torch: the name of a GPU",
    "core/fingerprints.py": "re: what a digest that was kept looks like",
    "models/device_memory.py": "torch: how much memory there is, and moving tensors",
    "models/lean_imports.py": "torch: what is imported when",
}


@pytest.mark.parametrize("program", ["finetune", "predict"])
def test_no_module_that_decides_bytes_is_exempt(program):
    """`files` once hashed, and its hash seeded LoRA weights: a change of it altered training and reran nothing."""
    root = code_digest_module.PACKAGE
    reader = code_digest_module.SourceReader(None)
    waiting, seen = [root.parent / f"{program}.py"], set()
    while waiting:
        path = waiting.pop()
        for module in filter(None, map(code_digest_module._module, reader.read(path).imports)):
            if module not in seen:
                seen.add(module)
                waiting.append(module)
    exempt = {path for path in seen if code_digest_module.is_without_effect(path)}
    rooms = ("config", "runtime", "study")  # what they decide stands in the spec itself
    faulty = {}
    for path in exempt:
        name = path.relative_to(root).as_posix()
        if name.split("/")[0] in rooms or name in HARMLESS:
            continue
        used = {alias.split(".")[0] for alias in imported_packages(path)} & DECIDES_BYTES
        if used:
            faulty[name] = used
    assert not faulty
    assert root / "core/hashing.py" in seen - exempt


def imported_packages(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_a_changed_hash_reruns_finetune_and_predict():
    for program in ("finetune", "predict", "prepare_data"):
        modules = code_digest_module.imported_modules(code_digest_module.PACKAGE.parent / f"{program}.py")
        assert code_digest_module.PACKAGE / "core/hashing.py" in modules
