"""A broken config in words: one line per faulty key, with what is allowed and what was found."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_ALLOWED = {
    "greater_than_equal": "must be at least {ge:g}",
    "greater_than": "must be more than {gt:g}",
    "less_than_equal": "must be at most {le:g}",
    "less_than": "must be less than {lt:g}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must match {pattern}",
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
    return [f"{name}: {key} {' or '.join(dict.fromkeys(options))}" for key, options in faults.items()]


# What pydantic adds to the path of a key that may hold values of several types.
_SHAPES = {"str", "int", "constrained-int", "float", "bool", "literal"}


def fault_in_words(fault: ErrorDetails, key: str, model: type[BaseModel]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = sorted({field for section in _models_of(model) for field in section.model_fields})
        near = difflib.get_close_matches(key.split(".")[-1], known, n=1)
        return f"is not a key of a study{f'; did you mean {near[0]}?' if near else ''}"
    if kind == "value_error":
        return f"is wrong: {context['error']}"
    if kind in _ALLOWED:
        return f"{_ALLOWED[kind].format(**context)}, not {fault['input']!r}"
    return f"{fault['msg'][:1].lower()}{fault['msg'][1:]}, not {fault['input']!r}"


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
