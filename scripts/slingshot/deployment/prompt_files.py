"""prompt.yaml of an exported folder: the study's prompt with everything filled in but the text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from slingshot.config.base import AnswerForm
from slingshot.config.specs import AnswerSet, PredictSpec
from slingshot.core.errors import StudyError
from slingshot.core.files import write_text
from slingshot.core.yaml_files import read_yaml
from slingshot.prompting.chat_template import ChatTemplate
from slingshot.prompting.messages import Example, Message, chat_messages
from slingshot.prompting.template import Shown

PROMPT = "prompt.yaml"

OPEN = "{{ text }}"  # where the reader of a folder puts a text

_MARK = "\ue000\ue001"  # stands for the text while all else is filled in; no upper or lower case

_SPECIAL = re.compile(rf'{{{{2,}}|{{(?={_MARK}|""")|"""')  # to a template of Go, or to the quotes around it


class Turn(BaseModel):
    """A worked example as the messages of a chat."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str
    assistant: str


class ExportedPrompt(BaseModel):
    """The messages of a prompt, the same for every text but for the place of the text in the last."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str | None = Field(description="null: no system message, as the chat template shows none")
    user: str = Field(description=f"holds {OPEN}")
    examples: list[Turn] = []
    answer: AnswerForm
    max_tokens: int = Field(description="of a prompt; the study cut the middle of longer texts")
    several: AnswerSet | None = None

    def messages(self, text: str) -> list[Message]:
        """What a chat template is given for a text."""
        made = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.examples:
            made += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.assistant}]
        return [*made, {"role": "user", "content": self.user.replace(OPEN, text)}]

    def write(self, folder: Path) -> None:
        kept = self.model_dump(mode="json", exclude_defaults=True)
        write_text(folder / PROMPT, yaml.safe_dump(kept, sort_keys=False, allow_unicode=True))


def read_exported_prompt(folder: Path) -> ExportedPrompt:
    """The prompt of an exported folder.

    Raises:
        StudyError: it is missing or not what an export writes.
    """
    path = folder / PROMPT
    try:
        return ExportedPrompt.model_validate(read_yaml(path, "export the arm again"))
    except ValueError:
        raise StudyError(f"{path} is not what this version writes: export the arm again") from None


def check_exportable(arm: str, spec: PredictSpec) -> None:
    """Refuse a prompt that is made for each text of the study's own files.

    Raises:
        StudyError: its labels or worked examples are chosen for each text.
    """
    if spec.prompt.candidates:
        raise StudyError(
            f"{arm} cannot be exported: its prompt shows {{{{ candidates }}}}, other labels for each text; answer with "
            "scripts/answer.py"
        )
    if spec.few_shot.k and spec.few_shot.selection != "random":
        raise StudyError(
            f"{arm} cannot be exported: its worked examples are the train texts nearest to each text "
            f"(few_shot.selection: {spec.few_shot.selection}); answer with scripts/answer.py"
        )


def fill_prompt(
    spec: PredictSpec, template: ChatTemplate, window: int, shown: Shown | None, examples: Sequence[Example]
) -> ExportedPrompt:
    """The study's prompt with labels, form of the answer and worked examples filled in."""
    examples = template.examples_as_text(examples)
    messages = chat_messages(spec.prompt, _MARK, examples, not template.keeps_system, shown)
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
    said = [message["content"] for message in messages]
    return ExportedPrompt(
        system=system,
        user=said[-1].replace(_MARK, OPEN),
        examples=[Turn(user=user, assistant=answer) for user, answer in zip(said[0:-1:2], said[1:-1:2], strict=True)],
        answer=spec.prompt.answer,
        max_tokens=window,
        several=spec.prompt.several,
    )


def render_messages(tokenizer: Any, messages: Sequence[Message]) -> str:
    """A prompt as text: by the folder's chat template, or without one the messages, each with a blank line after it."""
    if not tokenizer.chat_template:
        return "".join(f"{message['content']}\n\n" for message in messages)
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


def prompt_ids(tokenizer: Any, prompt: ExportedPrompt, text: str) -> list[int]:
    """A prompt's ids by the folder's tokenizer alone; a chat template writes its own special tokens."""
    rendered = render_messages(tokenizer, prompt.messages(text))
    return list(tokenizer(rendered, add_special_tokens=not tokenizer.chat_template)["input_ids"])


def modelfile(tokenizer: Any, prompt: ExportedPrompt, new_tokens: int, end_ids: Sequence[int]) -> str:
    """What `ollama create` reads: weights, greedy decoding, window, and the whole prompt as a template of Go."""
    rendered = render_messages(tokenizer, prompt.messages(_MARK))
    start = tokenizer.bos_token
    if start and rendered.startswith(start) and list(tokenizer("x")["input_ids"])[:1] == [tokenizer.bos_token_id]:
        rendered = rendered.removeprefix(start)  # llama.cpp puts it there itself
    rendered = _SPECIAL.sub(lambda found: '{{ "' + found[0].replace('"', "\\x22") + '" }}', rendered)
    stops = [str(tokenizer.decode([token])) for token in end_ids]
    lines = [
        "# ollama create NAME -f Modelfile; the message is the text alone",
        "FROM .",
        "PARAMETER temperature 0",
        f"PARAMETER num_predict {new_tokens}",
        f"PARAMETER num_ctx {prompt.max_tokens + new_tokens}",
        *[f'PARAMETER stop "{stop}"' for stop in stops if stop.strip() and '"' not in stop],
        f'TEMPLATE """{rendered.replace(_MARK, "{{ .Prompt }}")}"""',
    ]
    return "\n".join(lines) + "\n"
