"""Putting a dialogue to a model in the model's own chat template, and saying what its answer looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError
from slingshot.prompting.chat_template import ChatTemplate
from slingshot.prompting.kept_words import LEAST_KEPT, share_kept
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.messages import GAP, Example, Message, chat_messages
from slingshot.prompting.right_answers import LINE_END, written_answer
from slingshot.prompting.template import LEAST_ROOM, Shown, uses_labels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANCHOR = 24  # characters of a prompt's end that an answer is tokenized with


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids. `truncated`: its dialogue lost its middle."""

    ids: list[int]
    truncated: bool


class Prompter:
    """Builds prompts and completions for one tokenizer; a prompt has the same ids in training and in evaluation.

    Args:
        lists: what prompts show of the labels; needed where they have `{{ labels }}` or `{{ candidates }}`.
        thinking: let the template open a thought.
        more_end_ids: further ids that end an answer, of the model's generation_config.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompt: PromptText,
        lists: LabelLists | None = None,
        thinking: bool = False,
        more_end_ids: Sequence[int] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer, thinking)
        self._prompt = prompt
        self._lists = lists
        self._more_end_ids = tuple(more_end_ids)
        if uses_labels(prompt) and lists is None:
            raise ValueError("the prompt shows labels, so the prompter needs their lists")

    @property
    def window(self) -> int:
        """Tokens that a prompt may take at most."""
        return self._prompt.max_tokens

    def within(self, tokens: int) -> Prompter:
        """One whose prompts take no more than `tokens` tokens, and no more than this one's."""
        prompt = self._prompt.model_copy(update={"max_tokens": min(tokens, self.window)})
        return Prompter(self.tokenizer, prompt, self._lists, self.template.thinking, self._more_end_ids)

    def prompt(self, text: str, examples: Sequence[Example] = (), shown: Shown | None = None) -> Tokens:
        """The ids of a prompt, at most `max_tokens` of them, ready for the answer's first token.

        Raises:
            StudyError: instruction and examples leave no room for the dialogue, or the prompt loses its words.
        """
        window, text = self.window, self.template.as_text(text)
        examples = self.template.examples_as_text(examples)
        shown = shown or (self._lists.of([text])[0] if self._lists else None)
        ids = self._prompt_ids(text, examples, shown)
        if len(ids) <= window:
            self._check_words(text, ids)
            return Tokens(ids, truncated=False)
        frame = len(self._prompt_ids(GAP, examples, shown))
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        room = window - frame
        while room >= min(LEAST_ROOM, len(spans)) and room > 0:
            head, tail = room - room // 2, room // 2
            kept = text[: spans[head - 1][1]] + GAP + (text[spans[-tail][0] :] if tail else "")
            ids = self._prompt_ids(kept, examples, shown)
            if len(ids) <= window:
                self._check_words(kept, ids)
                return Tokens(ids, truncated=True)
            room -= len(ids) - window  # a cut can split a token into several
        raise StudyError(self._too_long(frame))

    def prompts(self, texts: Sequence[str], examples: Sequence[Sequence[Example]] | None = None) -> list[Tokens]:
        """`prompt` of each text with its examples, tokenized together, which takes all cores at once; raises as it."""
        if not texts:
            return []
        chosen = examples if examples is not None else [()] * len(texts)
        shown = self._lists.of(texts) if self._lists else [None] * len(texts)
        rendered = self.template.render(
            [
                self._messages(self.template.as_text(text), self.template.examples_as_text(some), lists)
                for text, some, lists in zip(texts, chosen, shown, strict=True)
            ]
        )
        made = []
        for ids, text, some, lists in zip(self._ids_of(rendered), texts, chosen, shown, strict=True):
            if len(ids) <= self.window:
                self._check_words(self.template.as_text(text), ids)
                made.append(Tokens(ids, truncated=False))
            else:
                made.append(self.prompt(text, some, lists))
        return made

    def completion(self, label: str, description: str) -> list[int]:
        """`completion_of` an answer that is one label."""
        return self.completion_of((written_answer(self._prompt.answer, label, description),))

    def completion_of(self, lines: Sequence[str]) -> list[int]:
        """The ids of a right answer to train on, its end token included.

        Args:
            lines: of the answer: one, or one for each label of a set. Each is tokenized by itself where it stands, so
                that constrained decoding, which goes from line to line, meets the same ids.

        Raises:
            StudyError: the chat template changes the answer, or closes it with nothing that ends it.
        """
        self.template.check_trains()
        closing = self._ids(self.template.after_answer.strip())
        if not closing and self.tokenizer.eos_token_id is None:
            raise StudyError(
                f"{self.tokenizer.name_or_path} has no end token, and its chat template writes none: an answer that "
                "is trained on would have no end"
            )
        if closing and not self._is_special(closing[0]):
            raise StudyError(
                f"the chat template of {self.tokenizer.name_or_path} ends an answer with "
                f"{self.template.after_answer!r}, which is no special token: an answer would have no end"
            )
        end = closing[0] if closing else int(self.tokenizer.eos_token_id)
        texts = [self.template.as_text(line) for line in lines]
        ends = [LINE_END] * (len(texts) - 1) + [""]
        first, *later = [text + end_of_line for text, end_of_line in zip(texts, ends, strict=True)]
        return [
            *self.answer_ids([first])[0],
            *(token for ids in (self.line_ids(later) if later else []) for token in ids),
            end,
        ]

    def answer_ids(self, answers: Sequence[str]) -> list[list[int]]:
        """The ids of answers as they follow a prompt, without their end.

        A SentencePiece tokenizer writes `▁A` at a text's beginning and `A` after a turn's mark: answers are tokenized
        behind the prompt's last characters, whose own ids are then taken off.
        """
        thinks = self.template.thinking
        anchor = self.template.thought_end if thinks else self._anchor
        texts = [answer if thinks else self.template.before_answer + answer for answer in answers]
        return self._ids_behind(anchor, texts)

    def _ids_behind(self, anchor: str, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts as they follow an anchor; by themselves where they melt into it."""
        with_anchor = self.tokenizer([anchor + text for text in texts], add_special_tokens=False)["input_ids"]
        before = self._ids(anchor)
        return [
            list(ids[len(before) :]) if list(ids[: len(before)]) == before else self._ids(text)
            for ids, text in zip(with_anchor, texts, strict=True)
        ]

    def line_ids(self, lines: Sequence[str]) -> list[list[int]]:
        """The ids of lines of an answer as they follow a line before them."""
        return self._ids_behind("0" + LINE_END, lines)

    @property
    def thought_end_ids(self) -> list[int]:
        """What closes a thought, its first token by itself, and leads to the answer.

        Raises:
            StudyError: the template lets no model think, or no single token ends a thought.
        """
        name = self.tokenizer.name_or_path
        if not self.template.can_think:
            raise StudyError(f"generation.thinking: the chat template of {name} lets no model think: set it to false")
        ids = self._ids(self.template.thought_end)
        if not self._is_special(ids[0]):
            raise StudyError(f"generation.thinking: no token of {name} ends a thought: set it to false")
        return ids

    @cached_property
    def end_ids(self) -> list[int]:
        """Ids that end an answer: of the template's turn, the tokenizer and the model's generation_config.

        Raises:
            StudyError: there is none.
        """
        closing = self._ids(self.template.after_answer.strip())
        of_template = closing[:1] if closing and self._is_special(closing[0]) else []
        ends = {*of_template, self.tokenizer.eos_token_id, *self._more_end_ids} - {None}
        if not ends:
            raise StudyError(
                f"{self.tokenizer.name_or_path} has no end token in its tokenizer, chat template or "
                "generation_config.json: an answer would have no end"
            )
        return sorted(ends)

    @property
    def end_id(self) -> int:
        """The id that ends an answer in the template; where that writes none, the tokenizer's, or any."""
        closing = self._ids(self.template.after_answer.strip())
        if closing and closing[0] in self.end_ids:
            return closing[0]
        own = self.tokenizer.eos_token_id
        return int(own) if own is not None else self.end_ids[0]

    @property
    def answer_prefix(self) -> str:
        """What the template puts between the prompt and the answer, e.g. Mistral's blank."""
        return self.template.before_answer

    @cached_property
    def _anchor(self) -> str:
        """The end of a prompt, from a place where tokens begin: its last special token, else its last line."""
        opened = self.template.opened
        starts = [opened.rfind(token) for token in self.tokenizer.all_special_tokens if len(token) > 1]
        at = max([*starts, opened.rfind("\n", 0, max(len(opened) - _ANCHOR, 0))])
        return opened[max(at, 0) :]

    @cached_property
    def _appended(self) -> int:
        """How many tokens the tokenizer puts after a text by itself."""
        bare, whole = self._ids("x"), list(self.tokenizer("x", add_special_tokens=True)["input_ids"])
        starts = [at for at in range(len(whole)) if whole[at : at + len(bare)] == bare]
        return len(whole) - starts[0] - len(bare) if starts else 0

    def _check_words(self, text: str, ids: list[int]) -> None:
        """Refuse a prompt that does not hold its dialogue's words, as where a file of the tokenizer is missing.

        Raises:
            StudyError: fewer than LEAST_KEPT of them are there.
        """
        kept = share_kept(text, str(self.tokenizer.decode(ids)))
        if kept < LEAST_KEPT:
            raise StudyError(
                f"a prompt holds {kept:.0%} of its dialogue's words: the tokenizer or the chat template of "
                f"{self.tokenizer.name_or_path} loses them; copy the model's tokenizer files from its source, and look "
                "at the prompt with `python scripts/prompt.py`"
            )

    def _is_special(self, token: int) -> bool:
        return token in self.tokenizer.all_special_ids or token in self.tokenizer.added_tokens_decoder

    def _messages(self, text: str, examples: Sequence[Example], shown: Shown | None) -> list[Message]:
        return chat_messages(self._prompt, text, examples, not self.template.keeps_system, shown)

    def _prompt_ids(self, text: str, examples: Sequence[Example], shown: Shown | None) -> list[int]:
        return self._ids_of(self.template.render([self._messages(text, examples, shown)]))[0]

    def _ids_of(self, rendered: list[str]) -> list[list[int]]:
        """A template writes its own special tokens; without one the tokenizer adds its beginning of text, no end."""
        bare = self.template.is_there
        ids = self.tokenizer(rendered, add_special_tokens=not bare)["input_ids"]
        cut = 0 if bare else self._appended
        return [list(some[: len(some) - cut]) for some in ids]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _too_long(self, frame: int) -> str:
        listed = " with the labels that it lists" if uses_labels(self._prompt) else ""
        return (
            f"instruction{listed} and examples alone take {frame} tokens, and the window of {self.window} leaves no "
            "room for a dialogue: raise prompt.max_tokens, or lower few_shot.k"
            + (" or prompt.candidates, or show {{ candidates }} instead of {{ labels }}" if listed else "")
            + " (the model's own context counts, too)"
        )
