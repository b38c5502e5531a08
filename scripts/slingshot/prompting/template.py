"""Prompt files: reading them, and filling in their placeholders."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2.sandbox
import yaml

from slingshot.config.base import AnswerForm
from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError


def read_prompt(path: Path | str, answer: AnswerForm, max_tokens: int) -> PromptText:
    """Read a prompt file: YAML with `system` and `user`, where `user` holds `{{ text }}`.

    Raises:
        StudyError: the file is missing, is not such YAML, or its `user` never shows the dialogue.
    """
    try:
        texts = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        prompt = PromptText(answer=answer, max_tokens=max_tokens, **texts)
        shown = fill_template(prompt.user, "\N{WHITE SMILING FACE}", answer)
    except FileNotFoundError:
        raise StudyError(f"prompt file {path} is missing: write one, or correct prompt.file in config.yaml") from None
    except (yaml.YAMLError, TypeError, ValueError, jinja2.TemplateError) as error:
        raise StudyError(f"prompt file {path} must hold the texts `system` and `user`: {error}") from None
    if "\N{WHITE SMILING FACE}" not in shown:
        raise StudyError(f"prompt file {path}: `user` must hold {{{{ text }}}}, where the dialogue goes")
    return prompt


def written_answer(form: AnswerForm, label: str, description: str) -> str:
    """What a right answer says, in the form that the study asks for."""
    return {"code": label, "code description": f"{label} {description}", "description code": f"{description} {label}"}[
        form
    ].strip()


_templates = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


@cache
def _compiled(template: str) -> jinja2.Template:
    return _templates.from_string(template)


def fill_template(template: str, text: str, answer: AnswerForm) -> str:
    form = {"code": "<code>", "code description": "<code> <description>", "description code": "<description> <code>"}
    return _compiled(template).render(text=text, answer_form=form[answer])
