"""Prompt files: reading them, and filling in their placeholders."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2.meta
import jinja2.sandbox
from jinja2 import nodes

from slingshot.config.base import AnswerForm, LabelSystem
from slingshot.config.specs import AnswerSet, PromptText
from slingshot.core.errors import StudyError
from slingshot.core.yaml_files import read_yaml
from slingshot.prompting.right_answers import NOTHING

log = logging.getLogger(__name__)

PACKAGE_PROMPTS = Path(__file__).parent / "prompts"

PLACEHOLDERS = {"user": ("text", "answer_form", "labels", "candidates"), "system": ("answer_form", "labels")}

LEAST_ROOM = 16  # tokens of a dialogue that a prompt holds at least

_PROBE = "\N{WHITE SMILING FACE}"  # a text that no prompt file holds: a prompt that shows it shows its dialogue


@dataclass(frozen=True)
class Shown:
    """What a prompt shows of the labels: all of them, and those that fit its dialogue best; one per line."""

    labels: str = ""
    candidates: str = ""


def default_prompt(system: LabelSystem, folder: Path, several: bool = False) -> Path:
    """The prompt file of a study that names none: SYSTEM.yaml in the study's prompts/, else in the package's; where
    samples have several labels, SYSTEM_set.yaml."""
    name = f"{system if isinstance(system, str) else 'tree'}{'_set' if several else ''}.yaml"
    own = folder / "prompts" / name
    return own if own.exists() else PACKAGE_PROMPTS / name


def read_prompt(
    path: Path | str,
    answer: AnswerForm,
    max_tokens: int,
    system: LabelSystem = "icd10cm",
    candidates: int = 10,
    several: AnswerSet | None = None,
) -> PromptText:
    """Read a prompt file: YAML with `system` and `user`, where `user` holds `{{ text }}`.

    Args:
        system: of the study's labels; decides whether an answer is a code or a label.
        candidates: how many labels `{{ candidates }}` shows.
        several: how a set is answered; None where an answer is one label.

    Raises:
        StudyError: the file is missing, is not such YAML, has an unknown placeholder, or never shows the dialogue.
    """
    try:
        texts = read_yaml(path, "write one, or correct prompt.file in config.yaml")
        prompt = PromptText(
            answer=answer,
            max_tokens=max_tokens,
            names="label" if system == "plain" else "code",
            several=several,
            **texts,
        )
        for part in PLACEHOLDERS:  # first: to compile `9 ** 9 ** 9` is to compute it
            refuse_programs(getattr(prompt, part))
        used = {part: _used(getattr(prompt, part)) for part in PLACEHOLDERS}
    except (AttributeError, RecursionError, TypeError, ValueError, jinja2.TemplateError) as error:
        words = " ".join(str(error).split())[:300]
        raise StudyError(f"prompt file {path} must hold the texts `system` and `user`: {words}") from None
    for part, names in used.items():
        for wrong in sorted(names - set(PLACEHOLDERS[part])):
            allowed = ", ".join(f"{{{{ {name} }}}}" for name in PLACEHOLDERS[part])
            raise StudyError(f"prompt file {path}: `{part}` has {{{{ {wrong} }}}}, but may only have {allowed}")
    if _PROBE not in fill_template(prompt.user, prompt, _PROBE):
        raise StudyError(f"prompt file {path}: `user` must hold {{{{ text }}}}, where the dialogue goes")
    if system == "plain":
        _warn_of_codes(str(path), prompt)
    return prompt.model_copy(update={"candidates": candidates if "candidates" in used["user"] else 0})


@cache
def _warn_of_codes(path: str, prompt: PromptText) -> None:
    if re.search(r"\bICD\b", prompt.system + prompt.user):
        log.warning("prompt file %s asks for ICD codes, but data.labels is plain: say what the labels are", path)


def uses_labels(prompt: PromptText) -> bool:
    """Whether a prompt shows the study's labels, so that it depends on labels.json."""
    return bool(prompt.candidates) or "labels" in _used(prompt.system) | _used(prompt.user)


_templates = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)


_ALLOWED_NODES = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Filter, nodes.If, nodes.CondExpr,
    nodes.Compare, nodes.Operand, nodes.Not, nodes.And, nodes.Or, nodes.Test,
)  # fmt: skip

_ALLOWED_FILTERS = ("trim", "upper", "lower", "default", "title", "capitalize")


def refuse_programs(template: str) -> None:
    """A prompt has placeholders and conditions; it neither loops nor computes, so that it ends and never fails.

    Raises:
        ValueError: it does more than that; names the line.
        jinja2.TemplateError: it is no template.
    """
    for node in _all_nodes(_templates.parse(template)):
        if not isinstance(node, _ALLOWED_NODES):
            raise ValueError(f"line {node.lineno} of it loops, calls or computes ({type(node).__name__})")
        if isinstance(node, nodes.Filter) and node.name not in _ALLOWED_FILTERS:
            raise ValueError(f"line {node.lineno} of it has the filter {node.name}, not {', '.join(_ALLOWED_FILTERS)}")


def _all_nodes(node: nodes.Node) -> Iterator[nodes.Node]:
    yield node
    for child in node.iter_child_nodes():
        yield from _all_nodes(child)


@cache
def _compiled(template: str) -> jinja2.Template:
    return _templates.from_string(template)


@cache
def _used(template: str) -> frozenset[str]:
    return frozenset(jinja2.meta.find_undeclared_variables(_templates.parse(template)))


_FORMS = {
    "code": {"code": "<code>", "code description": "<code> <description>", "description code": "<description> <code>"},
    "label": {
        "code": "the label",
        "code description": "the label and its description",
        "description code": "the description and its label",
    },
}


_LINES = {
    "code": {
        "code": "one code per line",
        "code description": "one line per code: <code> <description>",
        "description code": "one line per code: <description> <code>",
    },
    "label": {
        "code": "one label per line",
        "code description": "one line per label: the label and its description",
        "description code": "one line per label: the description and its label",
    },
}


def _answer_form(prompt: PromptText) -> str:
    if prompt.several is None:
        return _FORMS[prompt.names][prompt.answer]
    nothing = f" (or the word {NOTHING} if there is no {prompt.names})" if prompt.several.empty else ""
    return _LINES[prompt.names][prompt.answer] + nothing


def fill_template(template: str, prompt: PromptText, text: str = "", shown: Shown | None = None) -> str:
    """`system` or `user` of a prompt with its placeholders filled in."""
    shown = shown or Shown()
    return _compiled(template).render(
        text=text,
        answer_form=_answer_form(prompt),
        labels=shown.labels,
        candidates=shown.candidates,
    )
