"""docs/config.md: every key with its path and a description, sections in the order of a config.yaml."""

from slingshot.config.reference import keys_without_description, reference
from slingshot.config.study import Study

SCHEMA = Study.model_json_schema()


def test_every_key_is_described():
    assert not keys_without_description(SCHEMA)


def test_sections_stand_in_the_order_of_the_config_and_keys_by_their_path():
    text = reference(SCHEMA)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == list(Study.model_fields)
    for path in ("finetune.lora.r", "designs.few_shot.k", "data.source.hub", "llm.MODEL.source.gguf"):
        assert f"| `{path}` |" in text
