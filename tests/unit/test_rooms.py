"""The rooms of slingshot: which may import which, no circle between modules, and how long anything may be."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scripts/slingshot"
RECIPE = PACKAGE / "training/finetune.py"  # the one module that may be long: one recipe is read as a whole
SOURCES = [path for room in ("scripts", "benchmarks", "tests", "envs") for path in sorted((ROOT / room).rglob("*.py"))]
DOCUMENTS = [
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # one line per entry, so that branches merge
]

# A room imports from rooms of earlier lines and from itself, never from its own line's neighbours or from later ones.
ORDER = [
    {"core"},
    {"config"},
    {"artifacts"},
    {"data"},
    {"prompting"},
    {"models"},
    {"nn"},
    {"training", "generation", "rivals"},
    {"endpoints"},
    {"analysis"},
    {"study"},
    {"report"},
    {"deployment"},
    {"runtime"},
    {"migration"},
]
HEIGHT = {room: height for height, rooms in enumerate(ORDER) for room in rooms}


def room_of(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0].removesuffix(".py")


def module_of(dotted: str) -> Path | None:
    parts = dotted.split(".")
    while len(parts) > 1 and parts[0] == "slingshot":
        path = PACKAGE.joinpath(*parts[1:]).with_suffix(".py")
        if path.exists():
            return path
        parts.pop()
    return None


def imports() -> dict[Path, set[Path]]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__init__.py":
            continue
        names = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
        found[path] = {module for name in names if (module := module_of(name))} - {path}
    return found


IMPORTS = imports()


def test_every_module_is_in_a_room_of_the_order():
    assert {room_of(path) for path in IMPORTS} <= set(HEIGHT)


def test_imports_between_rooms_run_one_way():
    backward = [
        f"{path.relative_to(PACKAGE)} imports {module.relative_to(PACKAGE)}"
        for path, modules in IMPORTS.items()
        for module in modules
        if room_of(path) != room_of(module) and HEIGHT[room_of(module)] >= HEIGHT[room_of(path)]
    ]
    assert not backward, "\n".join(sorted(backward))


@pytest.mark.parametrize("path", sorted(IMPORTS), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_imports_itself_through_others(path):
    seen, waiting = set(), list(IMPORTS[path])
    while waiting:
        module = waiting.pop()
        assert module != path
        if module not in seen:
            seen.add(module)
            waiting += IMPORTS[module]


def test_no_module_is_over_400_lines_but_the_recipe():
    held = [path for path in SOURCES if path != RECIPE and "benchmarks" not in path.parts]
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in held}
    assert not {path.relative_to(ROOT).as_posix(): length for path, length in lengths.items() if length > 400}


def test_no_function_is_over_60_lines():
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert not long, "\n".join(long)


def test_no_two_classes_have_one_name():
    named: dict[str, list[str]] = {}
    for path in IMPORTS:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                named.setdefault(node.name, []).append(path.relative_to(PACKAGE).as_posix())
    assert not {name: places for name, places in named.items() if len(places) > 1 and not name.startswith("_")}


def test_lines_of_documents_are_at_most_120_characters():
    """But for tables, addresses and what stands in code blocks as it is."""
    long = [
        f"{path.relative_to(ROOT)}:{number} has {len(line)} characters"
        for path in DOCUMENTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 120 and not line.lstrip().startswith("|") and "http" not in line
    ]
    assert not long, "\n".join(long)


def test_rules_import_what_is_there() -> None:
    """mypy does not read rule files, and what one imports at the end of a dry run fails there alone."""
    lines = [
        line.partition("#")[0].strip()
        for path in sorted((ROOT / "workflow").rglob("*.smk"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("from slingshot.")
    ]
    assert len(lines) > 5 and not [line for line in lines if line.endswith("(")]
    for statement in ast.parse("\n".join(lines)).body:
        assert isinstance(statement, ast.ImportFrom) and statement.module
        there = vars(import_module(statement.module))
        assert [name.name for name in statement.names if name.name not in there] == [], statement.module
