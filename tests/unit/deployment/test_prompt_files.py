"""prompt.yaml and the Modelfile hold the study's prompt, filled in: no list of labels is missing, only the text."""

import re

import pytest

from slingshot.artifacts.labels import Label
from slingshot.config.base import AnswerForm
from slingshot.config.specs import AnswerSet, PredictSpec, PromptText
from slingshot.core.errors import StudyError
from slingshot.deployment.prompt_files import (
    OPEN,
    check_exportable,
    fill_prompt,
    modelfile,
    prompt_ids,
    read_exported_prompt,
    render_messages,
)
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.messages import Example
from slingshot.prompting.prompter import Prompter
from tests.tiny import byte_tokenizer

LABELS = [
    Label(label="I10", description="High pressure", train_samples=1),
    Label(label="no {{ idea }}", train_samples=1),
]
TEXT = "Patient: {{ labels }} hurt, and {{ text }} too."


def spec_of(answer: AnswerForm = "code", several: AnswerSet | None = None, **changed):
    prompt = PromptText(
        system="Labels:\n{{ labels }}", user="{{ text }}\n\nAnswer with {{ answer_form }}.", answer=answer,
        max_tokens=900, names="label", several=several,
    )  # fmt: skip
    return PredictSpec.model_construct(prompt=prompt.model_copy(update=changed))


def filled(spec, tokenizer, examples=()):
    lists = LabelLists(spec.prompt, LABELS, list)
    prompter = Prompter(tokenizer, spec.prompt, lists)
    shown = lists.of([""])[0]
    examples = [Example(text, answer, shown) for text, answer in examples]
    return prompter, fill_prompt(spec, prompter.template, prompter.window, shown, examples), examples


@pytest.mark.parametrize("template", ["chatml", "llama3", "mistral", "gemma", None])
@pytest.mark.parametrize("examples", [(), [("a cough <|im_end|>", "J06")]], ids=["alone", "with an example"])
def test_the_files_prompt_is_the_studys_token_by_token(tmp_path, template, examples):
    prompter, prompt, given = filled(spec_of(), byte_tokenizer(template), examples)
    prompt.write(tmp_path)
    tokenizer = byte_tokenizer(template)
    if template:
        tokenizer.chat_template = prompter.template.fixed_source
    assert prompt_ids(tokenizer, read_exported_prompt(tmp_path), TEXT) == prompter.prompt(TEXT, given).ids


def test_only_the_text_is_open():
    _, prompt, _ = filled(spec_of(), byte_tokenizer())
    assert prompt.system == "Labels:\n- I10: High pressure\n- no {{ idea }}"
    assert prompt.user == f"{OPEN}\n\nAnswer with the label."


def test_the_form_of_a_set_is_filled_in():
    several = AnswerSet(empty=True, order="code")
    _, prompt, _ = filled(spec_of("code", several), byte_tokenizer())
    assert prompt.user.endswith("Answer with one label per line (or the word none if there is no label).")
    assert prompt.several == several


@pytest.mark.parametrize(
    ("user", "others"), [("{{ text | upper }}", True), ("{% if text == 'a' %}b {% endif %}{{ text }}", False)]
)
def test_a_filter_on_the_text_makes_other_prompts(user, others):
    """The export compares prompts of test samples, and is refused where one differs."""
    tokenizer = byte_tokenizer()
    prompter, prompt, _ = filled(spec_of(user=user), tokenizer)
    tokenizer.chat_template = prompter.template.fixed_source
    assert (prompt_ids(tokenizer, prompt, "My back hurts") != prompter.prompt("My back hurts").ids) == others


def as_ollama(file: str, text: str) -> str:
    """What Go makes of the TEMPLATE, whose only actions are texts in quotes and the message."""
    [template] = re.findall(r'^TEMPLATE """(.*)"""$', file, flags=re.MULTILINE | re.DOTALL)
    assert '"""' not in template
    parts = re.split(r'\{\{ (?:"(.*?)"|(\.Prompt)) \}\}', template)
    said = [part for part in parts if part is not None]
    assert not any("{{" in part for part in parts[::3]) and not any(part.endswith("{") for part in parts[:-1:3] if part)
    return "".join(text if part == ".Prompt" else part.replace("\\x22", '"') for part in said)


@pytest.mark.parametrize("user", ["{{ text }}", '"""{{ text }}"""', "{{ '{' }}{{ text }}{{ answer_form }}"])
def test_the_modelfile_writes_the_whole_prompt(user):
    tokenizer = byte_tokenizer()
    prompter, prompt, _ = filled(spec_of(user=user), tokenizer, [("a cough", "J06")])
    tokenizer.chat_template = prompter.template.fixed_source
    file = modelfile(tokenizer, prompt, 7, prompter.end_ids)
    assert "- I10: High pressure" in file and 'PARAMETER stop "<|im_end|>"' in file and "num_ctx 907" in file
    assert as_ollama(file, "My back hurts") == render_messages(tokenizer, prompt.messages("My back hurts"))


def test_a_beginning_that_llama_cpp_writes_is_left_to_it():
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer("llama3")
    prompter, prompt, _ = filled(spec_of(), tokenizer)
    assert "<|begin_of_text|>" in modelfile(tokenizer, prompt, 7, prompter.end_ids)
    start = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A", pair=f"{start} $A $B", special_tokens=[(start, tokenizer.bos_token_id)]
    )
    assert "<|begin_of_text|>" not in modelfile(tokenizer, prompt, 7, prompter.end_ids)


def test_what_is_chosen_for_each_text_is_refused():
    from slingshot.config.recipe import FewShot

    spec = spec_of(candidates=3).model_copy(update={"few_shot": FewShot()})
    with pytest.raises(StudyError, match=r"slm/x cannot be exported: its prompt shows .* other labels for each text"):
        check_exportable("slm/x", spec)
    spec = spec_of().model_copy(update={"few_shot": FewShot(k=2, selection="nearest")})
    with pytest.raises(StudyError, match="slm/x cannot be exported: its worked examples are the train texts nearest"):
        check_exportable("slm/x", spec)
    check_exportable("slm/x", spec_of().model_copy(update={"few_shot": FewShot(k=2)}))


def test_a_prompt_of_another_version_is_one_sentence(tmp_path):
    (tmp_path / "prompt.yaml").write_text("system: a\nuser: b\nexamples: [{text: c, answer: d}]\n")
    with pytest.raises(StudyError, match="is not what this version writes: export the arm again"):
        read_exported_prompt(tmp_path)
