"""Write what is derived from the models in slingshot/config.py: the JSON schema and the reference of keys.

Editors check a config.yaml against workflow/schemas/config.schema.json; people read docs/config.md. `--check` fails
where a file is not what the models say.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slingshot import cli
from slingshot.config import Study

HOUSE = Path(__file__).parent.parent
INHERITED_NOTE = "Keys of `prompt`, `generation`, `few_shot`, `finetune` and `hardware` can be set for each model too."


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    given = parser.parse_args()
    schema = Study.model_json_schema()
    derived = {
        HOUSE / "workflow/schemas/config.schema.json": json.dumps(schema, indent=2) + "\n",
        HOUSE / "docs/config.md": reference(schema),
    }
    for path, text in derived.items():
        if not given.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what slingshot/config.py says: run `make schema`")


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


if __name__ == "__main__":
    cli.run(main)
