"""A template with the study's arguments inside it writes the study's prompts, whatever a caller gives."""

import pytest

from slingshot.prompting.chat_template import ChatTemplate
from tests.tiny import TEMPLATES, byte_tokenizer

MESSAGES = [{"role": "system", "content": "Code."}, {"role": "user", "content": "It hurts."}]
DATED = (
    "{{ date_string | default('today') }} {{ enable_thinking | default(true) }} "
    "{{ strftime_now('%d %B %Y') }} {{ messages[0]['content'] }}"
)


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("template", [TEMPLATES["chatml"], TEMPLATES["llama3"], DATED])
def test_an_exported_template_writes_the_studys_prompts(template, thinking):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    ours = ChatTemplate(tokenizer, thinking)
    wanted = ours.render([MESSAGES])[0]
    tokenizer.chat_template = ours.fixed_source
    given = {"tokenize": False, "add_generation_prompt": True}
    assert tokenizer.apply_chat_template(MESSAGES, **given) == wanted
    others = {"date_string": "1 Jan 2030", "enable_thinking": not thinking}
    assert tokenizer.apply_chat_template(MESSAGES, **given, **others) == wanted
