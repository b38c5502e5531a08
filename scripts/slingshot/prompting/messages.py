"""A dialogue as the messages of a chat, before a chat template or an endpoint renders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slingshot.config.specs import PromptText
from slingshot.prompting.template import Shown, fill_template

Message = dict[str, str]

GAP = " [...] "  # in the place of a dialogue's middle that did not fit


@dataclass(frozen=True)
class Example:
    """A worked example: a dialogue and what is answered to it, with the labels that its own turn shows."""

    text: str
    answer: str
    shown: Shown | None = None


def chat_messages(
    prompt: PromptText,
    text: str,
    examples: Sequence[Example] = (),
    folds_system: bool = False,
    shown: Shown | None = None,
) -> list[Message]:
    """The system text, each example as a turn of user and assistant, then the dialogue.

    Args:
        folds_system: put the system text at the head of the first user message, for a chat without system role.
        shown: what the prompt shows of the labels.
    """
    system = fill_template(prompt.system, prompt, shown=shown).strip()
    messages = [] if folds_system else [{"role": "system", "content": system}]
    for example in examples:
        messages.append({"role": "user", "content": _user(prompt, example.text, example.shown)})
        messages.append({"role": "assistant", "content": example.answer})
    messages.append({"role": "user", "content": _user(prompt, text, shown)})
    if folds_system:
        messages[0]["content"] = f"{system}\n\n{messages[0]['content']}"
    return messages


def _user(prompt: PromptText, text: str, shown: Shown | None) -> str:
    return fill_template(prompt.user, prompt, text, shown).strip()
