"""What transformers would ask of a GGUF many times is done once."""

from collections import Counter

import gguf
from transformers import AutoModelForCausalLM

from slingshot.deployment.gguf_file import write_gguf
from slingshot.models.gguf_reading import parsed_once
from tests.tiny import byte_tokenizer
from tests.unit.tiny_models import tiny_model


def test_a_file_is_parsed_once_and_its_table_of_names_made_once(tmp_path, monkeypatch):
    tiny_model("llama", vocab_size=300).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    write_gguf(tmp_path, tmp_path / "model.gguf")
    asked = Counter()

    def counted(name):
        own = getattr(gguf, name)
        monkeypatch.setattr(gguf, name, lambda *given: (asked.update([name]), own(*given))[1])

    counted("GGUFReader")
    counted("get_tensor_name_map")
    AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype="float32")
    assert min(asked.values()) > 1, "transformers asks once by itself: parsed_once can go"
    asked.clear()
    with parsed_once():
        AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype="float32")
    assert asked == {"GGUFReader": 1, "get_tensor_name_map": 1}
