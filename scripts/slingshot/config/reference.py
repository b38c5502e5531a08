"""The reference of every key, written from the models: workflow/schemas and docs/config.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

INHERITED_NOTE = "Keys of `prompt`, `generation`, `few_shot`, `finetune` and `hardware` can be set for each model too."


def reference(schema: dict[str, Any]) -> str:
    """A Markdown table a section, a row a key."""
    lines = ["# Every key of config.yaml", "", f"Made by `make schema`. {INHERITED_NOTE}"]
    for section, parts in sections(schema):
        lines += ["", f"## {section}", ""]
        if parts.get("description"):
            lines += [parts["description"].strip(), ""]
        lines += ["| key | values | default | what |", "| --- | --- | --- | --- |"]
        for key, value in parts["properties"].items():
            default = "required" if key in parts.get("required", []) else shown(value.get("default"))
            what = value.get("description", "").replace("|", "\\|")
            lines.append(f"| `{key}` | {kinds(value)} | {default} | {what} |")
    return "\n".join(lines) + "\n"


def sections(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The study itself, then each of its parts by the name of its model."""
    yield "The study", schema
    for name, parts in schema["$defs"].items():
        if "properties" in parts:
            yield name, parts


def kinds(value: dict[str, Any]) -> str:
    """What a key may hold, in words."""
    options = value.get("anyOf") or value.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(kinds(option) for option in options))
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in value or "const" in value:
        return ", ".join(f"`{option}`" for option in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {kinds(value['items'])}"
    if value.get("type") == "object":
        inner = value.get("additionalProperties") or next(iter(value.get("patternProperties", {}).values()), None)
        return f"key to {kinds(inner)}" if isinstance(inner, dict) else "keys and values"
    limits = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    bounds = [text.format(value[limit]) for limit, text in limits.items() if limit in value]
    return " ".join([{"null": "`null`"}.get(value.get("type", "any"), value.get("type", "any")), *bounds])


def shown(default: Any) -> str:
    return "see there" if isinstance(default, dict) else f"`{json.dumps(default)}`"
