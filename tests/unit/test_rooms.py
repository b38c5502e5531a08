"""The rooms of slingshot: which may import which, and no circle between modules."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "scripts/slingshot"

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
