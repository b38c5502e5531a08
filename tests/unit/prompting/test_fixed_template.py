"""A template with the study's arguments inside it writes the study's prompts, whatever a caller gives."""

import pytest

from slingshot.prompting.fixed_template import fix_template
from slingshot.prompting.prompter import TEMPLATE_ARGUMENTS
from tests.tiny import TEMPLATES, byte_tokenizer

MESSAGES = [{"role": "system", "content": "Code."}, {"role": "user", "content": "It hurts."}]
DATED = "{{ date_string | default('today') }} {{ enable_thinking | default(true) }} {{ messages[0]['content'] }}"


@pytest.mark.parametrize("template", [TEMPLATES["chatml"], TEMPLATES["llama3"], DATED])
def test_the_prompt_is_the_studys(template):
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    wanted = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True, **TEMPLATE_ARGUMENTS)
    tokenizer.chat_template = fix_template(template)
    assert tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True) == wanted
    other = tokenizer.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True, date_string="1 Jan 2030", enable_thinking=True
    )
    assert other == wanted
