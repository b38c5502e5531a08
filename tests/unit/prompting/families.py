# ruff: noqa: E501 (templates)
"""Chat templates of many families, written from their documented form, with the tokens that each knows.

A family: its template, its special tokens, its end token (None: the tokenizer has none), and the ends that its
generation_config names besides.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.tiny import CHATML, GEMMA, LLAMA3, MISTRAL


@dataclass(frozen=True)
class Family:
    template: str | None
    special: tuple[str, ...]
    eos: str | None
    trains: bool = True  # whether it shows the answer right after the prompt
    thinks: bool = False
    more_ends: tuple[str, ...] = ()


TURN = "{% for m in messages %}"
IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")

QWEN3 = (
    "{%- for m in messages %}{% set c = m['content'] %}{% if m['role'] == 'assistant' %}"
    "{% set c = c.split('</think>')[-1].lstrip('\\n') %}"
    "{{ '<|im_start|>assistant\\n' }}{% if loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ c + '<|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\\n' + c + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<\uff5cUser\uff5c>' + m['content'] }}"
    "{% else %}{{ '<\uff5cAssistant\uff5c>' + m['content'].split('</think>')[-1] + '<\uff5cend\u2581of\u2581sentence\uff5c>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c><think>\\n' }}{% endif %}"
)
V3 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<\uff5cUser\uff5c>' + m['content'] }}"
    "{% else %}{{ '<\uff5cAssistant\uff5c></think>' + m['content'] + '<\uff5cend\u2581of\u2581sentence\uff5c>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c>' }}{% if thinking %}{{ '<think>' }}{% else %}"
    "{{ '</think>' }}{% endif %}{% endif %}"
)
GPT_OSS = (
    "{{ '<|start|>system<|message|>Current date: ' + strftime_now('%Y-%m-%d') + '<|end|>' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ '<|start|>developer<|message|># Instructions\\n\\n' + m['content'] + '<|end|>' }}"
    "{% elif m['role'] == 'user' %}{{ '<|start|>user<|message|>' + m['content'] + '<|end|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
GLM4 = (
    "[gMASK]<sop>" + TURN + "{{ '<|' + m['role'] + '|>\\n' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
PHI3 = (
    TURN
    + "{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    + ("{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}")
)
PHI4 = (
    TURN
    + "{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    + ("{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}")
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set s = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set s = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + (s if loop.first else '') "
    "+ m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
COMMAND = (
    "{{ bos_token }}"
    + TURN
    + (
        "{{ '<|START_OF_TURN_TOKEN|>' + ('<|CHATBOT_TOKEN|>' if m['role'] == 'assistant' else "
        "'<|USER_TOKEN|>' if m['role'] == 'user' else '<|SYSTEM_TOKEN|>') + m['content'] + '<|END_OF_TURN_TOKEN|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
    )
)
GRANITE = TURN + (
    "{{ '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}"
)
ZEPHYR = TURN + (
    "{{ '<|' + m['role'] + '|>\\n' + m['content'] + eos_token + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
FALCON3 = TURN + (
    "{{ '<|' + m['role'] + '|>\\n' + m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
EXAONE = TURN + (
    "{{ '[|' + m['role'] + '|]' + m['content'] }}{% if m['role'] == 'user' %}{{ '\\n' }}{% else %}"
    "{{ '[|endofturn|]\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}"
)
OLMO2 = (
    "{{ bos_token }}"
    + TURN
    + (
        "{% if m['role'] == 'assistant' %}{{ '<|assistant|>\\n' + m['content'] + eos_token }}{{ '' if loop.last else '\\n' }}"
        "{% else %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    )
)
MAGISTRAL = (
    "{{ bos_token }}"
    + TURN
    + "{% if m['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + m['content'] + '[/SYSTEM_PROMPT]' }}"
    "{% elif m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}{% else %}{{ m['content'] + eos_token }}"
    "{% endif %}{% endfor %}{# thoughts stand between [THINK] and [/THINK] #}"
)
SMOLLM3 = (
    "{{ '<|im_start|>system\\nToday: ' + strftime_now('%d %B %Y') + '\\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}{{ '<|im_end|>\\n' }}"
    + TURN
    + "{% if m['role'] == 'user' %}{{ '<|im_start|>user\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% if not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n' }}{% endif %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% if not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n' }}{% endif %}{% endif %}"
)
GLM45 = (
    "[gMASK]<sop>" + TURN + "{% if m['role'] == 'assistant' %}{{ '<|assistant|>\\n<think></think>\\n' + m['content'] }}"
    "{% else %}{{ '<|' + m['role'] + '|>\\n' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% if not enable_thinking %}{{ '\\n<think></think>' }}"
    "{% endif %}{% endif %}"
)
SEED = (
    "{{ bos_token }}"
    + TURN
    + (
        "{{ bos_token + m['role'] + '\\n' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token + 'assistant\\n' }}{% if enable_thinking %}{{ '<seed:think>' }}{% endif %}"
        "{% endif %}"
    )
)
VICUNA = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + '\\n\\n' }}{% elif m['role'] == 'user' %}"
    "{{ 'USER: ' + m['content'] + '\\n' }}{% else %}{{ 'ASSISTANT: ' + m['content'] + eos_token + '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
INTERNLM = "{{ bos_token }}" + CHATML
DEEPSEEK = (
    "<\uff5cbegin\u2581of\u2581sentence\uff5c>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<\uff5cUser\uff5c>",
    "<\uff5cAssistant\uff5c>",
)
GLM = ("[gMASK]", "<sop>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|observation|>")

FAMILIES = {
    "chatml": Family(CHATML, IM, "<|im_end|>"),
    "qwen2": Family(CHATML, IM, "<|im_end|>", more_ends=("<|endoftext|>",)),
    "llama3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"),
        "<|eot_id|>",
        more_ends=("<|end_of_text|>", "<|eom_id|>"),
    ),
    "llama2": Family(LLAMA2, ("<s>", "</s>"), "</s>"),
    "mistral": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]"), "</s>"),
    "magistral": Family(
        MAGISTRAL,
        ("<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]"),
        "</s>",
        thinks=True,
    ),
    "gemma": Family(GEMMA, ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"), "<eos>", more_ends=("<end_of_turn>",)),
    "qwen3": Family(QWEN3, (*IM, "<think>", "</think>"), "<|im_end|>", thinks=True, more_ends=("<|endoftext|>",)),
    "deepseek-r1": Family(R1, (*DEEPSEEK, "<think>", "</think>"), DEEPSEEK[1], trains=False, thinks=True),
    "deepseek-v3": Family(V3, (*DEEPSEEK, "<think>", "</think>"), DEEPSEEK[1], thinks=True),
    "gpt-oss": Family(
        GPT_OSS,
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>", "<|call|>", "<|endoftext|>"),
        "<|return|>",
        trains=False,
        thinks=True,
        more_ends=("<|call|>", "<|endoftext|>"),
    ),
    "glm4": Family(GLM4, GLM, "<|endoftext|>", more_ends=("<|user|>", "<|observation|>")),
    "glm4.5": Family(
        GLM45, (*GLM, "<think>", "</think>"), "<|endoftext|>", thinks=True, more_ends=("<|user|>", "<|observation|>")
    ),
    "phi3": Family(
        PHI3, ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"), "<|endoftext|>",
        more_ends=("<|end|>",),
    ),
    "phi4": Family(PHI4, (*IM, "<|im_sep|>"), "<|im_end|>"),
    "command-r": Family(
        COMMAND,
        ("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|USER_TOKEN|>",
         "<|SYSTEM_TOKEN|>"),
        "<|END_OF_TURN_TOKEN|>",
    ),
    "granite": Family(GRANITE, ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"), "<|end_of_text|>"),
    "zephyr": Family(ZEPHYR, ("<s>", "</s>"), "</s>"),
    "falcon3": Family(FALCON3, ("<|endoftext|>", "<|pad|>"), "<|endoftext|>"),
    "exaone": Family(EXAONE, ("[|endofturn|]", "[|user|]", "[|assistant|]", "[|system|]", "[BOS]"), "[|endofturn|]"),
    "olmo2": Family(OLMO2, ("<|endoftext|>", "<|pad|>"), "<|endoftext|>"),
    "smollm3": Family(SMOLLM3, (*IM, "<think>", "</think>"), "<|im_end|>", thinks=True),
    "seed-oss": Family(SEED, ("<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>"), "<seed:eos>", thinks=True),
    "vicuna": Family(VICUNA, ("<s>", "</s>"), "</s>", trains=False),
    "internlm2": Family(INTERNLM, ("<s>", "</s>", "<|im_start|>", "<|im_end|>"), "</s>", more_ends=("<|im_end|>",)),
    "base": Family(None, ("<s>", "</s>"), "</s>"),
}  # fmt: skip
