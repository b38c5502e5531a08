"""A dialogue as the messages of a chat, before any template or endpoint puts them into a form of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slingshot.config.specs import PromptText
from slingshot.prompting.template import fill_template

Message = dict[str, str]


@dataclass(frozen=True)
class Example:
    """A worked example: a dialogue and what is answered to it."""

    text: str
    answer: str


def chat_messages(
    prompt: PromptText, text: str, examples: Sequence[Example] = (), folds_system: bool = False
) -> list[Message]:
    """The system text, each example as a turn of user and assistant, then the dialogue.

    Args:
        folds_system: put the system text at the head of the first user message, for a chat without system role.
    """
    messages = [] if folds_system else [{"role": "system", "content": prompt.system.strip()}]
    for example in examples:
        messages.append({"role": "user", "content": _user(prompt, example.text)})
        messages.append({"role": "assistant", "content": example.answer})
    messages.append({"role": "user", "content": _user(prompt, text)})
    if folds_system:
        messages[0]["content"] = f"{prompt.system.strip()}\n\n{messages[0]['content']}"
    return messages


def _user(prompt: PromptText, text: str) -> str:
    return fill_template(prompt.user, text, prompt.answer).strip()
