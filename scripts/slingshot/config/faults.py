"""A broken config in words: one line per faulty key, with what is allowed and what was found."""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slingshot.config.base import HUB_ID, LOCAL_PATH, REVISION

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
        known = sorted({field for section in _models_of(model) for field in section.model_fields})
        near = difflib.get_close_matches(key.split(".")[-1], known, n=1)
        return f"is not a key of a study{f'; did you mean {near[0]}?' if near else ''}"
    if kind == "value_error":
        return f"is wrong: {str(context['error'])[:1000]}"
    if kind == "string_pattern_mismatch" and context.get("pattern") in _FORMS:
        return f"{_FORMS[context['pattern']]}, not {shown(fault['input'])}"
    if kind in _ALLOWED:
        return f"{_ALLOWED[kind].format(**context)}, not {shown(fault['input'])}"
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, not {shown(fault['input'])}"


def _models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and every model that its fields are made of."""
    found: set[type[BaseModel]] = set()
    waiting: list[Any] = [model]
    while waiting:
        current = waiting.pop()
        if isinstance(current, type) and issubclass(current, BaseModel):
            if current not in found:
                found.add(current)
                waiting += [field.annotation for field in current.model_fields.values()]
        else:
            waiting += get_args(current)
    return found
