"""Reading YAML that a person wrote: plain values only, each key once, and no more of it than a person writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from slingshot.core.errors import StudyError
from slingshot.core.files import read_text

MOST_BYTES = 4_000_000
MOST_VALUES = 200_000  # with each alias counted as all that it stands for


def read_yaml(path: Path | str, missing: str = "correct its path") -> Any:
    """The value of a YAML file.

    Args:
        missing: what to do where the file is not there.

    Raises:
        StudyError: it is missing, not a file, not UTF-8, not YAML, names a key twice, refers to itself, or grows
            beyond MOST_VALUES as its aliases are followed.
    """
    text = read_text(path, missing, most_bytes=MOST_BYTES)
    try:
        return parse_yaml(text)
    except DuplicateKeyError as error:
        raise StudyError(f"{path}: {error}") from None
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise StudyError(f"{path}{where} is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        words = "it is nested too deep" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise StudyError(f"{path} is not YAML: {words}") from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; raises yaml.YAMLError, RecursionError or ValueError."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, "", {}, ())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def refuse_templates(value: Any, path: Path | str) -> None:
    """Refuse what Snakemake's own loader would take for a template, whose Python it runs.

    Raises:
        StudyError: the file's top level says so.
    """
    if isinstance(value, dict) and {"__use_yte__", "__definitions__", "__variables__"} & set(map(str, value)):
        raise StudyError(f"{path} asks for templates that run Python (__use_yte__): a config holds plain values alone")


class DuplicateKeyError(ValueError):
    """A key stands twice in one mapping; YAML itself takes the last silently."""


def _check(node: yaml.Node, where: str, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Number of values of a node with its aliases followed.

    Raises:
        DuplicateKeyError: a key stands twice in one mapping.
        yaml.YAMLError: the node holds itself, or too many values.
    """
    if id(node) in above:
        raise yaml.constructor.ConstructorError(None, None, "an alias stands inside what it names", node.start_mark)
    if id(node) in known:
        return known[id(node)]
    inside: list[tuple[str, yaml.Node]] = []
    if isinstance(node, yaml.SequenceNode):
        inside = [(f"{where}[{number}]", item) for number, item in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        inside = [(f"{where}.{name}".lstrip("."), value) for name, value in _named_once(node, where)]
    known[id(node)] = 1 + sum(_check(child, name, known, (*above, id(node))) for name, child in inside)
    if known[id(node)] > MOST_VALUES:
        words = f"with its aliases followed it holds more than {MOST_VALUES:,} values"
        raise yaml.constructor.ConstructorError(None, None, words, node.start_mark)
    return known[id(node)]


def _named_once(node: yaml.MappingNode, where: str) -> list[tuple[str, yaml.Node]]:
    lines: dict[str, int] = {}
    named = []
    for key, value in node.value:
        name = key.value[:100] if isinstance(key, yaml.ScalarNode) else "?"
        line = key.start_mark.line + 1
        if name in lines and name not in ("<<", "?"):
            full = f"{where}.{name}".lstrip(".")
            raise DuplicateKeyError(
                f"{full} stands in line {lines[name]} and in line {line}; YAML takes the last: remove one"
            )
        lines[name] = line
        named.append((name, value))
    return named
