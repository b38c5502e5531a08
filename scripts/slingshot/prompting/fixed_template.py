"""A chat template that gives the study's prompts wherever it is used: its arguments fixed inside it."""

from __future__ import annotations

import json
from typing import Any

from slingshot.prompting.prompter import TEMPLATE_ARGUMENTS


def fix_template(template: str) -> str:
    """The template behind assignments of the arguments that the study gives to it; they win over a caller's."""
    fixed = "".join(f"{{%- set {name} = {_jinja(value)} -%}}" for name, value in TEMPLATE_ARGUMENTS.items())
    return fixed + template


def _jinja(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else json.dumps(value)
