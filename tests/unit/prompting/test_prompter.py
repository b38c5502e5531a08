"""A prompt is the model's own template; a completion is the answer and the end of the turn; only dialogues are cut."""

import pytest

from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError
from slingshot.prompting.prompter import Example, Prompter
from slingshot.prompting.right_answers import written_answer
from slingshot.prompting.template import read_prompt
from tests.tiny import TEMPLATES, byte_tokenizer

FAMILIES = [*TEMPLATES, None]


def prompter(template, answer="code", max_tokens=400):
    text = PromptText(
        system="You code.", user="Talk:\n{{ text }}\nGive {{ answer_form }}.", answer=answer, max_tokens=max_tokens
    )
    return Prompter(byte_tokenizer(template), text)


@pytest.mark.parametrize("template", FAMILIES)
def test_a_prompt_shows_system_text_dialogue_and_form(template):
    made = prompter(template, answer="description code")
    shown = made.tokenizer.decode(made.prompt("[doctor] Hello?").ids)
    assert "You code." in shown
    assert "Talk:\n[doctor] Hello?\nGive <description> <code>." in shown


@pytest.mark.parametrize("template", FAMILIES)
@pytest.mark.parametrize(
    ("answer", "written"),
    [("code", "A047"), ("code description", "A047 SPRUE"), ("description code", "SPRUE A047")],
)
def test_a_completion_is_the_answer_and_one_end_token(template, answer, written):
    made = prompter(template, answer)
    ids = made.completion("A047", "SPRUE")
    assert ids[-1] in made.end_ids
    assert ids[-1] in made.tokenizer.all_special_ids
    assert made.tokenizer.decode(ids[:-1]) == made.answer_prefix + written


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompt_and_completion_are_what_the_template_writes_for_the_whole_talk(template):
    made = prompter(template)
    ids = made.prompt("[patient] It hurts.").ids + made.completion("A047", "")
    messages = [
        {"role": "system", "content": "You code."},
        {"role": "user", "content": "Talk:\n[patient] It hurts.\nGive <code>."},
        {"role": "assistant", "content": "A047"},
    ]
    if template in ("gemma", "mistral"):  # no system role that lasts: it is folded in
        messages = [{"role": "user", "content": f"You code.\n\n{messages[1]['content']}"}, messages[2]]
    whole = made.tokenizer.apply_chat_template(messages, tokenize=False).rstrip("\n")
    assert made.tokenizer.decode(ids) == whole


@pytest.mark.parametrize("template", FAMILIES)
@pytest.mark.parametrize("letters", [401, 1000, 5000])
def test_a_long_dialogue_loses_its_middle_and_never_the_instruction(template, letters):
    made = prompter(template, max_tokens=300)
    tokens = made.prompt("[doctor] first " + "ü" * letters + " last")
    shown = made.tokenizer.decode(tokens.ids)
    assert tokens.truncated
    assert 290 <= len(tokens.ids) <= 300
    assert "You code." in shown
    assert "[doctor] first" in shown
    assert "last\nGive <code>." in shown
    assert " [...] " in shown


def test_a_dialogue_that_fits_is_not_touched():
    made = prompter("chatml")
    length = len(made.prompt("abc").ids)
    exact = prompter("chatml", max_tokens=length).prompt("abc")
    assert (len(exact.ids), exact.truncated) == (length, False)


def test_an_instruction_longer_than_the_window_is_an_error_that_names_the_key():
    with pytest.raises(StudyError, match=r"the window of 40 leaves no room for a dialogue: raise prompt\.max_tokens"):
        prompter("chatml", max_tokens=40).prompt("x" * 100)


def test_examples_are_turns_before_the_dialogue():
    made = prompter("llama3")
    shown = made.tokenizer.decode(made.prompt("new", [Example("old", "I10")]).ids)
    assert shown.index("old") < shown.index("I10<|eot_id|>") < shown.index("new")


def test_a_template_that_changes_the_answer_is_an_error():
    made = prompter("chatml")
    made.tokenizer.chat_template = TEMPLATES["chatml"].replace("message['content'] }}", "message['content'] | lower }}")
    with pytest.raises(StudyError, match="does not show the answer 'A047'"):
        made.completion("A047", "")


def test_a_template_whose_turn_has_no_end_token_is_an_error():
    made = prompter("chatml")
    made.tokenizer.chat_template = TEMPLATES["chatml"].replace("<|im_end|>", "The end.")
    with pytest.raises(StudyError, match="no special token"):
        made.completion("A047", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("system: a\nuser: no dialogue", "must hold {{ text }}"),
        ("system: a\nuser: '{{ txt }}'", "`user` has {{ txt }}, but may only have {{ text }}, {{ answer_form }}"),
        ("system: '{{ text }}'\nuser: '{{ text }}'", "`system` has {{ text }}, but may only have"),
        ("system: a\nuser: '{{ text }'", "must hold the texts"),
        ("just text", "must hold the texts"),
        ("system: a", "must hold the texts"),
    ],
)
def test_a_faulty_prompt_file_is_one_clear_sentence(tmp_path, content, message):
    (tmp_path / "prompt.yaml").write_text(content)
    with pytest.raises(StudyError) as fault:
        read_prompt(tmp_path / "prompt.yaml", "code", 100)
    assert message in str(fault.value)


def test_a_missing_prompt_file_is_one_clear_sentence(tmp_path):
    with pytest.raises(StudyError, match="is missing"):
        read_prompt(tmp_path / "prompt.yaml", "code", 100)


def test_a_dialogue_is_never_a_template():
    assert "{{ 7 * 7 }}" in prompter("chatml").tokenizer.decode(prompter("chatml").prompt("{{ 7 * 7 }}").ids)


def test_an_answer_without_a_description_has_no_blank_around_it():
    assert written_answer("code description", "A047", "") == "A047"


@pytest.mark.parametrize("template", FAMILIES)
def test_prompts_together_are_the_prompts_one_by_one(template):
    some = [Example("it itches", "L237")]
    made = prompter(template, max_tokens=250)
    texts = ["sore throat", "word " * 60, ""]
    assert made.prompts(texts) == [made.prompt(text) for text in texts]
    assert made.prompts(texts[:1], [some]) == [made.prompt(texts[0], some)]
    assert made.prompts([]) == []
    assert [tokens.truncated for tokens in made.prompts(texts)] == [False, True, False]


def test_a_prompt_that_asks_for_icd_codes_is_warned_of_where_labels_are_plain(tmp_path, caplog):
    path = tmp_path / "prompt.yaml"
    path.write_text("system: Name the ICD-10-CM code.\nuser: '{{ text }} {{ answer_form }}'\n")
    read_prompt(path, "code", 400, system="plain")
    assert "asks for ICD codes, but data.labels is plain" in caplog.text
    caplog.clear()
    read_prompt(path, "code", 400, system="icd10cm")
    path.write_text("system: Name the disease.\nuser: '{{ text }} {{ answer_form }}'\n")
    read_prompt(path, "code", 400, system="plain")
    assert not caplog.text
