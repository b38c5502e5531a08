"""A GGUF file that we write: the gguf package reads its tensors back, transformers gives the same logits from it."""

from __future__ import annotations

import json

import gguf
import numpy as np
import pytest
import torch
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from slingshot.core.errors import StudyError
from slingshot.core.files import write_json
from slingshot.deployment.gguf_file import CUTS, cut_of, objection_to, write_gguf
from tests.tiny import CHATML
from tests.unit.tiny_models import tiny_model

MERGES = [("Ġ", "c"), ("Ġc", "o"), ("d", "e"), ("Ġco", "de")]


def merging_tokenizer():
    """Bytes, four merges and ChatML's turn marks."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate([*letters, *map("".join, MERGES)])}
    fast = FastTokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(mark, special=True) for mark in ("<|im_start|>", "<|im_end|>")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=fast, eos_token="<|im_end|>", bos_token="<|im_start|>")
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture(params=["llama", "qwen2", "qwen3"])
def folder(request, tmp_path):
    tokenizer = merging_tokenizer()
    shape = {"vocab_size": len(tokenizer) + 2, "tie_word_embeddings": request.param == "qwen2"}
    if request.param == "qwen3":
        shape["head_dim"] = 128  # what transformers' reader takes for granted; llama.cpp reads the file's key_length
    tiny_model(request.param, **shape).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [tokenizer.eos_token_id]})
    return tmp_path


def test_the_file_gives_the_logits_and_tokens_of_the_folder(folder):
    write_gguf(folder, folder / "model.gguf")
    kept = AutoModelForCausalLM.from_pretrained(folder).eval()
    back = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype="float32").eval()
    ids = torch.arange(3, 90)[None]
    with torch.no_grad():
        assert torch.equal(back(ids).logits, kept(ids).logits)
    text = "<|im_start|>the code is I10<|im_end|>"
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="model.gguf")
    assert tokenizer(text)["input_ids"] == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]


def test_the_gguf_package_reads_back_what_was_written(folder):
    write_gguf(folder, folder / "model.gguf")
    reader = gguf.GGUFReader(folder / "model.gguf")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    config = json.loads((folder / "config.json").read_text())
    state = model.state_dict()
    assert np.array_equal(tensors["token_embd.weight"], state["model.embed_tokens.weight"].numpy())
    assert np.array_equal(tensors["blk.1.ffn_down.weight"], state["model.layers.1.mlp.down_proj.weight"].numpy())
    queries = state["model.layers.0.self_attn.q_proj.weight"].numpy()
    assert np.array_equal(tensors["blk.0.attn_q.weight"], queries) == (config["model_type"] != "llama")
    assert sorted(tensors["blk.0.attn_q.weight"].ravel()) == sorted(queries.ravel())
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.merges"] == [" ".join(merge) for merge in MERGES]
    assert fields["tokenizer.ggml.eos_token_id"] == fields["tokenizer.ggml.tokens"].index("<|im_end|>")
    assert fields["tokenizer.chat_template"] == CHATML


def test_bfloat16_keeps_its_bits(tmp_path):
    tokenizer = merging_tokenizer()
    model = tiny_model("llama", vocab_size=len(tokenizer)).bfloat16()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    write_json(tmp_path / "generation_config.json", {"eos_token_id": 1})
    write_gguf(tmp_path, tmp_path / "model.gguf")
    tensor = next(t for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors if t.name == "blk.0.ffn_up.weight")
    bits = model.model.layers[0].mlp.up_proj.weight.detach().view(torch.uint16).numpy()
    assert tensor.tensor_type == gguf.GGMLQuantizationType.BF16
    assert np.array_equal(tensor.data.view(np.uint16).reshape(bits.shape), bits)


def test_what_is_not_known_is_refused_in_one_sentence(folder, monkeypatch):
    monkeypatch.setenv("PATH", "")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", config | {"architectures": ["GptOssForCausalLM"]})
    with pytest.raises(StudyError, match=r"GptOssForCausalLM is none of .*; put llama\.cpp's convert_hf_to_gguf\.py"):
        write_gguf(folder, folder / "model.gguf")
    assert not (folder / "model.gguf").exists()


def test_positions_that_are_stretched_and_other_tokenizers_are_refused():
    bpe = {"model": {"type": "BPE"}, "pre_tokenizer": {"type": "ByteLevel", "use_regex": True}}
    llama = {"architectures": ["LlamaForCausalLM"]}
    assert objection_to(llama, bpe) is None
    assert "stretches" in str(objection_to({**llama, "rope_parameters": {"rope_type": "llama3", "factor": 8}}, bpe))
    assert "byte-level" in str(objection_to(llama, {"model": {"type": "Unigram"}}))
    assert "cuts texts" in str(objection_to(llama, {**bpe, "pre_tokenizer": {"type": "Whitespace"}}))


def test_how_a_tokenizer_cuts_texts_has_llama_cpps_name():
    byte_level = {"type": "ByteLevel", "use_regex": False}
    for name, pattern in CUTS.items():
        split = {"type": "Split", "pattern": {"Regex": pattern}}
        assert cut_of({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}) == name
    digits = {"type": "Digits", "individual_digits": True}
    smollm = {"type": "Sequence", "pretokenizers": [digits, {"type": "ByteLevel", "use_regex": True}]}
    assert cut_of({"pre_tokenizer": smollm}) == "smollm"
