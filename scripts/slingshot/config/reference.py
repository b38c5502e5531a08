"""The reference of every key, written from the models: workflow/schemas and docs/config.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from slingshot.core.errors import StudyError
from slingshot.core.files import write_text

Schema = dict[str, Any]

# A model's key stands for a name of the user's choice.
NAMED = {"llm": "MODEL", "slm": "MODEL"}


def write_derived_files(model: type[BaseModel], repository: Path, only_check: bool) -> None:
    """Write the JSON schema of a study and docs/config.md, or compare those that are there.

    Raises:
        StudyError: with `only_check`, a file is not what the model says.
    """
    schema = model.model_json_schema()
    derived = {
        repository / "workflow/schemas/config.schema.json": json.dumps(schema, indent=2) + "\n",
        repository / "docs/config.md": reference(schema),
    }
    for path, text in derived.items():
        if not only_check:
            write_text(path, text)
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise StudyError(f"{path} is not what slingshot/config says: run `make schema`")


def reference(schema: Schema) -> str:
    """docs/config.md: a table per section of config.yaml, in its order, a row per key with its whole path."""
    lines = [
        "# Every key of config.yaml",
        "",
        "Made by `make schema`. A key's path is written with dots: `finetune.lora.r` is the key `r` of the section",
        "`lora` in the section `finetune`. Where a word in capitals stands in a path, the name is yours.",
    ]
    shown: dict[str, str] = {}
    for section, value in schema["properties"].items():
        rows = list(_rows(section, value, schema["$defs"], section in schema.get("required", []), ()))
        lines += ["", f"## {section}", "", _text(value, schema["$defs"]), ""]
        alike = shown.setdefault(json.dumps({**value, "description": "", "title": ""}), section)
        if alike != section:
            lines.append(f"The keys are those of [{alike}](#{alike}).")
            continue
        lines += ["| key | values | default | what |", "| --- | --- | --- | --- |"]
        lines += rows[1:] if len(rows) > 1 else rows
    return "\n".join(lines) + "\n"


def keys_without_description(schema: Schema) -> list[str]:
    """Paths of the keys that say nothing about themselves."""
    found = []
    for section, value in schema["properties"].items():
        for row in _rows(section, value, schema["$defs"], False, ()):
            path, *_, what = row.strip("| ").split(" | ") if not row.endswith("|  |") else (row.split(" | ")[0], "")
            if not what.strip():
                found.append(path.strip("| `"))
    return found


def _rows(path: str, value: Schema, known: Schema, required: bool, above: tuple[str, ...]) -> Iterator[str]:
    """The row of a key, then those of the keys in it."""
    default = "required" if required else _default(value)
    what = _text(value, known).replace("|", "\\|")
    yield f"| `{path}` | {_kinds(value, known)} | {default} | {what} |"
    for name in _sections_in(value):
        if name in above or (above and path.split(".")[-1] in INHERITED_SECTIONS and path.split(".")[0] in NAMED):
            continue
        named = f"{path}.{NAMED[path]}" if path in NAMED else path
        parts = known[name]
        for key, inner in parts.get("properties", {}).items():
            yield from _rows(f"{named}.{key}", inner, known, key in parts.get("required", []), (*above, name))


INHERITED_SECTIONS = ("prompt", "generation", "few_shot", "finetune", "hardware")


def _sections_in(value: Schema) -> list[str]:
    """Names of the models that a key's value may be made of."""
    inner = [value, value.get("items") or {}, value.get("additionalProperties") or {}]
    inner += value.get("patternProperties", {}).values()
    names = []
    for part in inner:
        if not isinstance(part, dict):
            continue
        for option in (part, *part.get("anyOf", []), *part.get("oneOf", [])):
            if "$ref" in option:
                names += [option["$ref"].rpartition("/")[2]]
    return names


def _text(value: Schema, known: Schema) -> str:
    """A key's own description, else that of the section that it opens."""
    if "description" in value:
        return str(value["description"])
    texts = [known[name].get("description", "").strip() for name in _sections_in(value)]
    return " ".join(" ".join(texts).split())


def _kinds(value: Schema, known: Schema) -> str:
    """What a key may hold, in words."""
    options = value.get("anyOf") or value.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(_kinds(option, known) for option in options))
    if "$ref" in value:
        target = known[value["$ref"].rpartition("/")[2]]
        return "section" if "properties" in target else _kinds(target, known)
    if "enum" in value or "const" in value:
        return ", ".join(f"`{option}`" for option in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        return f"list of {_kinds(value['items'], known)}"
    if value.get("type") == "object":
        inner = value.get("additionalProperties") or next(iter(value.get("patternProperties", {}).values()), None)
        return f"name to {_kinds(inner, known)}" if isinstance(inner, dict) else "keys and values"
    limits = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    bounds = [text.format(value[limit]) for limit, text in limits.items() if limit in value]
    kind = str(value.get("type", "any"))
    return " ".join(["`null`" if kind == "null" else kind, *bounds])


def _default(value: Schema) -> str:
    default = value.get("default")
    return "see its keys" if isinstance(default, dict) and default else f"`{json.dumps(default)}`"
