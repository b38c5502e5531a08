"""A broken config in words: one line per faulty key, with what is allowed and what was found."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slingshot.config.base import HUB_ID, LOCAL_PATH, REVISION, SIZE

Key = tuple[str, ...]

_ALLOWED = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_short": "must not be empty",
    "finite_number": "must be a finite number",
    "model_type": "must hold keys and values",
    "dict_type": "must hold keys and values, or be {{}}",
    "list_type": "must be a list",
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


def complaints(error: ValidationError, name: str, model: type[BaseModel]) -> list[str]:
    """One line per faulty key of `model`: what is allowed, and the value that was found."""
    union_tags = {"hub", "path", "folder", "wheel", "gguf", "api"}
    faults: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        where = list(fault["loc"])
        if "source" in where and len(where) > (at := where.index("source") + 1) and where[at] in union_tags:
            del where[at]
        where = [part for part in where if not (isinstance(part, str) and ("[" in part or part in _SHAPES))]
        key = ".".join(str(part) for part in where if part != "[key]")
        faults.setdefault(key or "the study", []).append(fault_in_words(fault, key, model))
    lines = [f"{name}: {key[:200]} {' or '.join(dict.fromkeys(options))}" for key, options in faults.items()]
    more = [f"{name}: and {len(lines) - MOST_FAULTS} more faults"] if len(lines) > MOST_FAULTS else []
    return lines[:MOST_FAULTS] + more


# What some patterns ask for, in words.
_FORMS = {
    HUB_ID: "must be an id of the hub such as owner/name",
    REVISION: "must be a commit, tag or branch",
    LOCAL_PATH: "must be a path on one line without a blank at its end",
    r"\S": "must not be blank",
    SIZE: "must be a number with K, M or B such as 135M",
}

MOST_FAULTS = 30  # lines

RENAMED = {"evaluation": "answering"}  # sections of earlier versions


# What pydantic adds to the path of a key that may hold values of several types.
_SHAPES = {"str", "constrained-str", "int", "constrained-int", "float", "bool", "literal", "TreeLabels"}


MOST_SHOWN = 120  # characters of a value


def shown(value: Any) -> str:
    """A value as a message shows it: short, and without the password of a URL."""
    if isinstance(value, dict | list | tuple | set):
        text = f"a {type(value).__name__} of {len(value)} values" if _is_large(value) else repr(value)
    else:
        text = repr(value[: 4 * MOST_SHOWN] if isinstance(value, str | bytes) else value)
    text = re.sub(r"(?<=//)[^/\s@']*@", "***@", text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _is_large(value: Any, room: int = 40) -> bool:
    """Whether a container holds more than `room` values, those of its containers counted in."""
    waiting, seen = [value], 0
    while waiting:
        current = waiting.pop()
        seen += 1
        if seen + len(waiting) > room or (isinstance(current, str) and len(current) > 10 * MOST_SHOWN):
            return True
        if isinstance(current, dict):
            waiting += list(current.values())[: room + 1]
        elif isinstance(current, list | tuple | set):
            waiting += list(current)[: room + 1]
    return False


def fault_in_words(fault: ErrorDetails, key: str, model: type[BaseModel]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden" and key in RENAMED:
        return f"is now {RENAMED[key]}: rename it"
    if kind == "extra_forbidden":
        near = nearest_key(key.split("."), model)
        return f"is not a key of a study{f'; did you mean {near}?' if near else ''}"
    if kind == "value_error":
        return f"is wrong: {str(context['error'])[:1000]}"
    if kind == "string_pattern_mismatch" and context.get("pattern") in _FORMS:
        return f"{_FORMS[context['pattern']]}, not {shown(fault['input'])}"
    if kind in _ALLOWED:
        return f"{_ALLOWED[kind].format(**context)}, not {shown(fault['input'])}"
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, not {shown(fault['input'])}"


def nearest_key(parts: Sequence[str], model: type[BaseModel]) -> str | None:
    """The key that is spelled most alike: its last part where it stands in the same section, else all of it."""
    keys = list(_keys_of(model))
    near = difflib.get_close_matches(parts[-1], sorted({key[-1] for key in keys}), n=1)
    if not near:
        return None
    named = [_filled_in(key, parts) for key in keys if key[-1] == near[0]]
    best = min(named, key=lambda key: (-_shared(key, parts), "*" in key, len(key)))
    return best[-1] if best[:-1] == tuple(parts[:-1]) else ".".join(best)


def _filled_in(key: Key, parts: Sequence[str]) -> Key:
    """A key with the names of `parts` for its stars, as far as the two are one."""
    found: list[str] = []
    for at, part in enumerate(key):
        together = at < len(parts) - 1 and tuple(found) == tuple(parts[:at])
        found.append(parts[at] if part == "*" and together else part)
    return tuple(found)


def _shared(key: Key, parts: Sequence[str]) -> int:
    """How many first parts are the same."""
    return next((at for at, (one, other) in enumerate(zip(key, parts, strict=False)) if one != other), len(key))


def _keys_of(annotation: Any, prefix: Key = ()) -> Iterator[Key]:
    """Every key below an annotation; a star stands for a name that the study gives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield (*prefix, name)
            yield from _keys_of(field.annotation, (*prefix, name))
        return
    inner = get_args(annotation)
    for each in inner[1:] if get_origin(annotation) is dict else inner:
        yield from _keys_of(each, (*prefix, "*") if get_origin(annotation) in (dict, list) else prefix)
