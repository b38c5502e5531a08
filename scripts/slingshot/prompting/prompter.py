"""Putting a dialogue to a model in the model's own chat template, and saying what its answer looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2.sandbox

from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError
from slingshot.prompting.messages import Example, Message, chat_messages
from slingshot.prompting.template import written_answer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GAP = " [...] "

# Template arguments that would make a prompt depend on the day, or make a model think aloud.
TEMPLATE_ARGUMENTS: dict[str, Any] = {"date_string": "26 Jul 2024", "enable_thinking": False}


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids. `truncated`: its dialogue lost its middle."""

    ids: list[int]
    truncated: bool


class Prompter:
    """Builds prompts and completions for one tokenizer; a prompt in training and in evaluation is the same ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: PromptText) -> None:
        self.tokenizer = tokenizer
        self._prompt = prompt
        self._has_template = bool(getattr(tokenizer, "chat_template", None))
        self._folds_system = self._has_template and not self._keeps_system()

    @property
    def window(self) -> int:
        """Tokens that a prompt may take at most."""
        return self._prompt.max_tokens

    def within(self, tokens: int) -> Prompter:
        """One whose prompts take no more than so many tokens, and no more than this one's."""
        prompt = self._prompt.model_copy(update={"max_tokens": min(tokens, self.window)})
        return Prompter(self.tokenizer, prompt)

    def prompt(self, text: str, examples: Sequence[Example] = ()) -> Tokens:
        """The ids of a prompt, at most `max_tokens` of them, ready for the answer's first token.

        Raises:
            StudyError: instruction and examples alone are longer than the window.
        """
        window = self.window
        ids = self._prompt_ids(text, examples)
        if len(ids) <= window:
            return Tokens(ids, truncated=False)
        frame = len(self._prompt_ids(GAP, examples))
        if frame > window:
            raise StudyError(
                f"instruction and examples alone take {frame} tokens, and the window holds {window}: raise "
                "prompt.max_tokens, or lower few_shot.k (the model's own context and finetune.max_tokens count, too)"
            )
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        room = window - frame
        while room > 0:
            head, tail = room - room // 2, room // 2
            kept = text[: spans[head - 1][1]] + GAP + (text[spans[-tail][0] :] if tail else "")
            ids = self._prompt_ids(kept, examples)
            if len(ids) <= window:
                return Tokens(ids, truncated=True)
            room -= len(ids) - window  # a cut can split a token into several
        return Tokens(self._prompt_ids(GAP, examples), truncated=True)

    def prompts(self, texts: Sequence[str], examples: Sequence[Sequence[Example]] | None = None) -> list[Tokens]:
        """`prompt` of each text with its examples, tokenized together, which takes all cores at once."""
        chosen = examples if examples is not None else [()] * len(texts)
        if not texts:
            return []
        rendered = self._rendered_all([self._messages(text, some) for text, some in zip(texts, chosen, strict=True)])
        all_ids = self.tokenizer(rendered, add_special_tokens=not self._has_template)["input_ids"]
        return [
            Tokens(list(ids), truncated=False) if len(ids) <= self.window else self.prompt(text, some)
            for ids, text, some in zip(all_ids, texts, chosen, strict=True)
        ]

    def completion(self, label: str, description: str) -> list[int]:
        """The ids of a right answer, its end token included.

        Raises:
            StudyError: the chat template changes the answer, or closes it with something unknown.
        """
        answer = written_answer(self._prompt.answer, label, description)
        before, closing = self._around(answer)
        return [*self._ids(before + answer), self._end_id(closing)]

    @property
    def end_ids(self) -> list[int]:
        """Ids that end an answer: the template's end of turn and the tokenizer's end of text."""
        _, closing = self._around("A047")
        return sorted({self._end_id(closing), self.tokenizer.eos_token_id} - {None})

    @property
    def answer_prefix(self) -> str:
        """What the template puts between the prompt and the answer, e.g. Mistral's blank."""
        return self._around("A047")[0]

    def _around(self, answer: str) -> tuple[str, str]:
        """What the template writes before an answer (white space, or nothing) and after it."""
        if not self._has_template:
            return "", self.tokenizer.eos_token
        opened = self._rendered("x", ())
        closed = self._render([*self._messages("x", ()), {"role": "assistant", "content": answer}], opening=False)
        before, found, after = closed[len(opened) :].partition(answer)
        if not closed.startswith(opened) or not found or before.strip():
            raise StudyError(
                f"the chat template of {self.tokenizer.name_or_path} does not show the answer {answer!r} right after "
                f"the prompt, but {closed[len(opened) :]!r}: it cannot be trained on; give the model a plain template"
            )
        return before, after

    def _end_id(self, closing: str) -> int:
        """The token that ends a turn. A template that writes none leaves it to the tokenizer's end of text."""
        ids = self._ids(closing.strip())
        if not ids:
            return int(self.tokenizer.eos_token_id)
        if ids[0] not in self.tokenizer.all_special_ids and ids[0] not in self.tokenizer.added_tokens_decoder:
            raise StudyError(
                f"the chat template of {self.tokenizer.name_or_path} ends an answer with {closing!r}, "
                "which is no special token: an answer would have no end"
            )
        return int(ids[0])

    def _keeps_system(self) -> bool:
        """Whether the template shows a system text, and still does once an answer follows (Mistral's v0.3 doesn't)."""
        marker = "Slingshot asks."
        asked = [{"role": "system", "content": marker}, {"role": "user", "content": "x"}]
        try:
            opened = self._render(asked, opening=True)
            answered = self._render([*asked, {"role": "assistant", "content": "y"}], opening=False)
        except jinja2.TemplateError:
            return False
        return marker in opened and marker in answered

    def _messages(self, text: str, examples: Sequence[Example]) -> list[Message]:
        return chat_messages(self._prompt, text, examples, self._folds_system)

    def _rendered(self, text: str, examples: Sequence[Example]) -> str:
        return self._rendered_all([self._messages(text, examples)])[0]

    def _rendered_all(self, conversations: list[list[dict[str, str]]]) -> list[str]:
        if self._has_template:
            return self._render_all(conversations, opening=True)
        return ["".join(f"{message['content']}\n\n" for message in messages) for messages in conversations]

    def _render(self, messages: list[dict[str, str]], opening: bool) -> str:
        return self._render_all([messages], opening)[0]

    def _render_all(self, conversations: list[list[dict[str, str]]], opening: bool) -> list[str]:
        rendered: Any = self.tokenizer.apply_chat_template(
            conversations, tokenize=False, add_generation_prompt=opening, **TEMPLATE_ARGUMENTS
        )
        return list(rendered)

    def _prompt_ids(self, text: str, examples: Sequence[Example]) -> list[int]:
        """A template writes its own special tokens; without one the tokenizer adds its beginning of text."""
        rendered = self._rendered(text, examples)
        return list(self.tokenizer(rendered, add_special_tokens=not self._has_template)["input_ids"])

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
