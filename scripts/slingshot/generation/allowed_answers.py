"""What constrained decoding and ranked candidates may say in a study: its labels, or the whole code set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slingshot.artifacts.labels import Label
from slingshot.config.base import AnswerForm, Level
from slingshot.config.specs import PredictSpec, PromptText
from slingshot.data.code_trees import CodeTree, tree_of
from slingshot.generation.answer_trie import AnswerTrie, build_trie
from slingshot.generation.set_trie import LinePaths, SetTrie, build_set_trie
from slingshot.prompting.prompter import Prompter
from slingshot.prompting.right_answers import LINE_END, NOTHING, written_answer, written_line


def allowed_answers(prompter: Prompter, labels: Sequence[Label], spec: PredictSpec) -> AnswerTrie:
    """A trie over the allowed answers, each written in full in the study's answer form."""
    allowed = {label.label: label.description or "" for label in labels}
    tree = tree_of(spec.labels)
    if spec.generation.vocabulary == "code_set" and tree is not None:
        allowed = {**code_set(tree, spec.level), **allowed}
    if spec.prompt.several is not None:
        return allowed_sets(prompter, spec.prompt, allowed)
    return build_trie(list(allowed), answers_in_tokens(prompter, spec.prompt.answer, allowed), prompter.end_ids)


def allowed_sets(prompter: Prompter, prompt: PromptText, labels: Mapping[str, str]) -> SetTrie:
    """A trie over lists of labels, with the ids that `prompter.completion_of` gives.

    Args:
        labels: label to description.
    """
    end = [prompter.end_id]
    lines = [
        prompter.template.as_text(written_line(prompt.answer, label, description))
        for label, description in labels.items()
    ]
    followed = [line + LINE_END for line in lines]
    first, later = (
        LinePaths([[*ids, *end] for ids in in_tokens(lines)], in_tokens(followed))
        for in_tokens in (prompter.answer_ids, prompter.line_ids)
    )
    nothing = [*prompter.answer_ids([NOTHING])[0], *end] if prompt.several and prompt.several.empty else None
    return build_set_trie(list(labels), first, later, prompter.end_ids, nothing)


def code_set(tree: CodeTree, level: Level) -> dict[str, str]:
    """Every label of a code tree at a level, with its description."""
    return {label: tree.describe(label, level) for label in tree.all_labels(level)}


def answers_in_tokens(prompter: Prompter, form: AnswerForm, labels: Mapping[str, str]) -> list[list[int]]:
    """The token ids of each label's answer, in the study's answer form, its end token included.

    The same ids as `prompter.completion` gives, for all labels at once, and for templates that can't be trained on.

    Args:
        labels: label to description.
    """
    texts = [written_answer(form, label, description) for label, description in labels.items()]
    return [[*ids, prompter.end_id] for ids in prompter.answer_ids(texts)] if labels else []
