"""A model's chat template as Slingshot uses it: dates fixed, control tokens of a dialogue kept as text, thoughts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jinja2.sandbox

from slingshot.core.errors import StudyError
from slingshot.prompting.messages import Example, Message
from slingshot.prompting.thinking import THOUGHT_MARKS, closing_mark, closing_mark_in, opens_thinking

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# What would make a prompt depend on the day: an argument of templates, and a function that they call.
_DATE = "26 Jul 2024"

_PARTS = {
    **{"%Y": "2024", "%m": "07", "%d": "26", "%B": "July", "%b": "Jul", "%A": "Friday", "%a": "Fri", "%y": "24"},
    **{"%H": "12", "%M": "00", "%S": "00", "%I": "12", "%p": "PM", "%j": "208"},
}

_FIXED_DAY = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f".replace('{part}', '{value}')" for part, value in _PARTS.items())
    + " }}{% endmacro %}{{ '' }}"
)

_CONTROL = re.compile(r"<\|[^|<>\s'\"{}]+\|>|<\uff5c[^\uff5c\s'\"]+\uff5c>|</?[a-z_:]+>|\[/?[A-Z_]+\]|<</?SYS>>")

_ANSWER = "\ue000A047\ue001"  # no template knows it, and none changes it


class ChatTemplate:
    """Renders conversations as text. Without a template, messages follow each other with a blank line between."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, thinking: bool = False) -> None:
        self.tokenizer = tokenizer
        self.thinking = thinking
        self.is_there = bool(getattr(tokenizer, "chat_template", None))
        self._arguments: dict[str, Any] = {"date_string": _DATE, "enable_thinking": thinking, "thinking": thinking}

    def render(self, conversations: list[list[Message]], opening: bool = True) -> list[str]:
        """Each conversation as text; `opening` ends it where the model's turn begins."""
        if not self.is_there:
            return ["".join(f"{message['content']}\n\n" for message in messages) for messages in conversations]
        hidden = (
            [_with_answers_hidden(messages) for messages in conversations] if self._example_block else conversations
        )
        rendered = self._apply(hidden, opening)
        return [self._with_answers(text, messages) for text, messages in zip(rendered, conversations, strict=True)]

    def as_text(self, text: str) -> str:
        """A text whose control tokens (`<|im_start|>`) are broken up by a blank, so that they open no turn."""
        for first, tokens in self._control.items():
            if first in text:
                for token in tokens:
                    while token in text:
                        text = text.replace(token, f"{first} {token[1:]}")
        return text

    def examples_as_text(self, examples: Sequence[Example]) -> list[Example]:
        """`as_text` of worked examples, their texts and their answers."""
        return [replace(each, text=self.as_text(each.text), answer=self.as_text(each.answer)) for each in examples]

    @cached_property
    def keeps_system(self) -> bool:
        """Whether the template shows a system text, and still does once an answer follows (Mistral's v0.3 doesn't)."""
        if not self.is_there:
            return True
        marker = "Slingshot asks."
        asked = [{"role": "system", "content": marker}, {"role": "user", "content": "x"}]
        try:
            opened = self._plainly(asked, opening=True)
            answered = self._plainly([*asked, {"role": "assistant", "content": "y"}], opening=False)
        except jinja2.TemplateError:
            return False
        return marker in opened and marker in answered

    @cached_property
    def opened(self) -> str:
        """A short prompt up to where the answer begins."""
        return self._plainly([{"role": "user", "content": "x"}], opening=True)

    @cached_property
    def closed(self) -> str:
        """The same with the answer, up to the end of its turn."""
        return self._plainly(
            [{"role": "user", "content": "x"}, {"role": "assistant", "content": _ANSWER}], opening=False
        )

    @property
    def before_answer(self) -> str:
        """What stands between prompt and answer: a blank, a channel of gpt-oss, the end of an opened thought."""
        if not self.is_there:
            return ""
        if self.closed.startswith(self.opened):
            return self.closed[len(self.opened) :].partition(_ANSWER)[0]
        return f"\n{closing_mark(self.opened)}\n\n" if opens_thinking(self.opened) else ""

    @property
    def thought_end(self) -> str:
        """What closes a thought and leads to the answer."""
        if "<|channel|>" in self._source:
            return "<|end|><|start|>assistant<|channel|>final<|message|>"
        if opens_thinking(self.opened):
            return f"{closing_mark(self.opened)}\n\n"
        return f"{closing_mark_in(self._source)}\n\n"

    @property
    def after_answer(self) -> str:
        return self.closed.rpartition(_ANSWER)[2] if self.is_there else self.tokenizer.eos_token or ""

    def check_trains(self) -> None:
        """Refuse a template that does not show an answer as it is, right after the prompt.

        Raises:
            StudyError: says what the template shows instead.
        """
        if not self.is_there:
            return
        shown = self.closed[len(self.opened) :]
        if not self.closed.startswith(self.opened) or _ANSWER not in shown or self.before_answer.strip():
            raise StudyError(
                f"the chat template of {self.tokenizer.name_or_path} does not show the answer 'A047' right after the "
                f"prompt, but {shown.replace(_ANSWER, 'A047')!r}: it cannot be trained on; give the model a plain "
                "template"
            )

    @property
    def can_think(self) -> bool:
        """Whether the template lets a model think: by an argument, an opened thought, or channels."""
        if not self.is_there:
            return False
        other = ChatTemplate(self.tokenizer, not self.thinking)
        source = self._source.lower()
        return (
            self.opened != other.opened or opens_thinking(self.opened) or "<|channel|>" in source or "think" in source
        )

    @cached_property
    def _example_block(self) -> str:
        """What the last turn has before its answer and earlier turns lack: an empty thought, as Qwen3 writes it."""
        if not self.is_there:
            return ""
        turns = [{"role": "user", "content": "x"}]
        try:
            asked = self._plainly(turns, opening=False)
            earlier = self._plainly(
                [*turns, {"role": "assistant", "content": _ANSWER}, {"role": "user", "content": "y"}], opening=True
            )
        except jinja2.TemplateError:
            return ""
        header = self.opened[len(asked) :] if self.opened.startswith(asked) else ""
        before = earlier.partition(_ANSWER)[0]
        length = next((n for n in range(len(header), 0, -1) if before.endswith(header[:n])), 0)
        block = header[length:] if length else ""
        if not opens_thinking(block) and "</think" not in block:
            return ""
        return f"{block.rstrip()}\n\n{closing_mark(block)}\n\n" if opens_thinking(block) else block

    @cached_property
    def _control(self) -> dict[str, list[str]]:
        """Strings that mean something to the tokenizer or the template, by their first character, longest first."""
        special = {str(token) for token in self.tokenizer.all_special_tokens}
        special |= {token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special}
        if self.is_there:
            special |= THOUGHT_MARKS | set(_CONTROL.findall(self._source))
        by_first: dict[str, list[str]] = {}
        for token in sorted(special, key=lambda token: (-len(token), token)):
            if len(token) > 1 and not token.isspace():
                by_first.setdefault(token[0], []).append(token)
        return by_first

    def _plainly(self, messages: list[Message], opening: bool) -> str:
        if not self.is_there:
            return "".join(f"{message['content']}\n\n" for message in messages)
        return self._apply([messages], opening)[0]

    def _apply(self, conversations: list[list[Message]], opening: bool) -> list[str]:
        template = f"{_FIXED_DAY}{self._source}" if "strftime_now" in self._source else None
        rendered: Any = self.tokenizer.apply_chat_template(
            conversations,
            chat_template=template,
            tokenize=False,
            add_generation_prompt=opening,
            **self._arguments,
        )
        return list(rendered)

    @property
    def fixed_source(self) -> str:
        """The template with the study's arguments and day inside it: it writes the study's prompts wherever it is used.

        An assignment in a template wins over what a caller gives.
        """
        values = {name: json.dumps(value) for name, value in self._arguments.items()}  # of true, false and text
        fixed = "".join(f"{{%- set {name} = {value} -%}}" for name, value in values.items())
        return fixed + (_FIXED_DAY if "strftime_now" in self._source else "") + self._source

    @property
    def _source(self) -> str:
        return str(self.tokenizer.get_chat_template())

    def _with_answers(self, text: str, messages: list[Message]) -> str:
        """Put the examples' answers where they were hidden, each after an empty thought."""
        if not self._example_block:
            return text
        for number, message in enumerate(messages):
            text = text.replace(_hidden(number), self._example_block + message["content"])
        return text


def _with_answers_hidden(messages: list[Message]) -> list[Message]:
    return [
        {**message, "content": _hidden(number)} if message["role"] == "assistant" else message
        for number, message in enumerate(messages)
    ]


def _hidden(number: int) -> str:
    return f"\ue000{number}\ue001"
