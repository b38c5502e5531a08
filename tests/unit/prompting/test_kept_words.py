"""A prompt that does not hold its dialogue's words is an error, not eighteen empty answers."""

import pytest

from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError
from slingshot.prompting.kept_words import share_kept
from slingshot.prompting.prompter import Prompter
from tests.tiny import byte_tokenizer

TEXT = "Doctor: what is it? Patient: the cough won't stop, and I slept badly for three nights."


@pytest.mark.parametrize(
    ("text", "said", "least", "most"),
    [
        (TEXT, f"<s>{TEXT}</s>", 1, 1),
        (TEXT, f"<s>{TEXT.upper().replace(' ', '  ')}</s>", 1, 1),
        (TEXT, TEXT.replace("won't", "won ' t").replace(",", " ,"), 1, 1),
        ("Käse, Fieber und Ausschläge", "kase fieber und ausschlage", 1, 1),
        ("咳嗽三天了头痛发烧晚上睡不着觉", "<s> 咳嗽三天了头痛发烧晚上睡不着觉", 1, 1),
        ("two words", "[...] two  words", 1, 1),
        ("", "", 1, 1),
        ("... --- ...", "", 1, 1),
        (TEXT, "", 0, 0),
        (TEXT, "Name the code. Doctor: what is it? [UNK] [UNK] [UNK] [UNK] [UNK]", 0, 0.6),
        ("咳嗽三天了头痛发烧晚上睡不着觉", "<unk><unk><unk>", 0, 0),
    ],
)
def test_the_share_of_words_that_tokens_say_back(text, said, least, most):
    assert least <= share_kept(text, said) <= most


def prompter(template=None, max_tokens=400):
    tokenizer = byte_tokenizer("chatml")
    tokenizer.chat_template = template or tokenizer.chat_template
    return Prompter(tokenizer, PromptText(system="s", user="{{ text }}", answer="code", max_tokens=max_tokens))


def test_a_template_that_drops_the_dialogue_is_refused_prompt_by_prompt():
    made = prompter("{% for m in messages if m.content|length < 20 %}{{ m.content }}{% endfor %}A:")
    assert made.prompts(["short"])[0].ids
    for ask in (lambda: made.prompt(TEXT), lambda: made.prompts(["short", TEXT])):
        with pytest.raises(StudyError, match=r"a prompt holds \d+% of its dialogue's words"):
            ask()


def test_a_tokenizer_that_loses_letters_is_refused(monkeypatch):
    made = prompter()
    kept = made._ids_of
    monkeypatch.setattr(made, "_ids_of", lambda rendered: [ids[:10] for ids in kept(rendered)])
    with pytest.raises(StudyError, match="loses them"):
        made.prompts([TEXT])


def test_a_window_without_room_for_a_dialogue_is_refused():
    frame = len(prompter().prompt("").ids) + len(prompter().tokenizer(" [...] ")["input_ids"])
    with pytest.raises(StudyError, match="leaves no room for a dialogue"):
        prompter(max_tokens=frame + 8).prompt(TEXT * 10)
    assert prompter(max_tokens=frame + 40).prompt(TEXT * 10).truncated
