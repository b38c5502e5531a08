"""Reading YAML in which no key may stand twice: YAML itself takes the last one without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from slingshot.core.errors import StudyError


def read_yaml(path: Path) -> Any:
    """What a YAML file holds.

    Raises:
        StudyError: it is not YAML, or a key stands twice in one section; with both lines.
        FileNotFoundError: there is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_twins(tree, path, "")
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} is not YAML: {error}") from None


def _refuse_twins(node: yaml.Node | None, path: Path, where: str) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _refuse_twins(item, path, f"{where}[{number}]")
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        full = f"{where}.{name}".lstrip(".")
        if name in lines and name != "<<":
            raise StudyError(
                f"{path.name}: {full} stands in line {lines[name]} and in line {line}; YAML takes the last: remove one"
            )
        lines[name] = line
        _refuse_twins(value, path, full)
