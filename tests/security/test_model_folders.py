"""A model's folder is whole and what it says, or it is refused in one sentence."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from slingshot.artifacts.model_card import read_model_card
from slingshot.config.specs import FetchModelSpec
from slingshot.core.errors import StudyError
from slingshot.models.fetching import fetch
from slingshot.models.folder_checks import check_folder
from slingshot.models.loading import load_model, load_tokenizer, warn_of_missing_template
from tests.workflow.small_study import _write_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "whole"
    _write_model(folder, seed=1)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def headed(content):
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def index(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def outside(folder):
    index(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))


def foreign_code(folder):
    config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil"}, model_type="evil", architectures=["Evil"])
    (folder / "evil.py").write_text("raise SystemExit('the code of a model was run')\n")


DAMAGES = {
    "weights cut": (cut, "its header tells"),
    "weights empty": (headed(b""), "cut or no safetensors"),
    "a pointer of Git LFS": (headed(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "git lfs pull"),
    "a header too large": (headed((2**40).to_bytes(8, "little") + b"{}"), "cut or no safetensors"),
    "a broken header": (headed((2).to_bytes(8, "little") + b"{["), "damaged header"),
    "a header that is a list": (headed((2).to_bytes(8, "little") + b"[]"), "damaged header"),
    "no tensors": (headed((2).to_bytes(8, "little") + b"{}"), "no tensors"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no .safetensors"),
    "a part is missing": (index, "lacks model-00002-of-00002"),
    "parts outside": (outside, "outside of its folder"),
    "config broken": (lambda folder: (folder / "config.json").write_text("{"), "no JSON"),
    "config a list": (lambda folder: (folder / "config.json").write_text("[]"), "keys and values"),
    "config missing": (lambda folder: (folder / "config.json").unlink(), "is missing"),
    "no architectures": (lambda folder: config(folder, architectures=None), "no architecture"),
    "no layers": (lambda folder: config(folder, num_hidden_layers=None), "number of layers"),
    "gptq": (lambda folder: config(folder, quantization_config={"quant_method": "gptq"}), r"quantized \(gptq\)"),
    "awq": (lambda folder: config(folder, quantization_config={"quant_method": "awq"}), r"quantized \(awq\)"),
    "fp8": (lambda folder: config(folder, quantization_config={"quant_method": "fp8"}), r"quantized \(fp8\)"),
    "bitsandbytes": (lambda folder: config(folder, quantization_config={"load_in_4bit": True}), "quantized"),
    "packed without saying so": (
        lambda folder: weights(folder, lambda each: each.update({"a.weight": torch.zeros(4, dtype=torch.uint8)})),
        "stored quantized",
    ),
    "an adapter beside": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "adapter"),
    "code of its own": (foreign_code, "code of its own"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer"),
    "tokenizer cut": (lambda folder: (folder / "tokenizer.json").write_text('{"model": {'), "no JSON"),
    "tokenizer a list": (lambda folder: (folder / "tokenizer.json").write_text("[]"), "no tokenizer"),
    "more tokens than embeddings": (lambda folder: config(folder, vocab_size=100), "embeddings"),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_folder_is_refused_as_it_is_fetched(folder, damage):
    break_it, message = DAMAGES[damage]
    break_it(folder)
    with pytest.raises(StudyError, match=message) as fault:
        check_folder(folder)
    assert str(folder) in str(fault.value)
    assert len(str(fault.value)) < 600


def test_an_adapters_folder_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(StudyError, match="is an adapter, not a model"):
        check_folder(tmp_path)


def test_a_layer_count_under_another_name_is_found(folder):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "n_layer": content.pop("num_hidden_layers")} | {"num_hidden_layers": None}))
    assert check_folder(folder).layers == 2


def fetched(folder, tmp_path):
    card = tmp_path / "results/models/tiny.json"
    spec = FetchModelSpec(source={"folder": str(folder)}, source_digest=None, layers=None)
    fetch(spec, tmp_path, card).write(card)
    return read_model_card(card)


def test_weights_beside_the_ones_that_are_loaded_count_once_and_are_not_named(folder, tmp_path):
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    card = fetched(folder, tmp_path)
    model = load_model(card, "none", "float32", "cpu")
    assert card.parameters == sum(weight.numel() for weight in model.parameters())
    assert "consolidated.safetensors" not in card.files


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda each: each.pop("model.layers.1.mlp.up_proj.weight"), "lacks 1 weights .* model.layers.1.mlp.up_proj"),
        (
            lambda each: [each.update({f"other.{name}": each.pop(name)}) for name in list(each)],
            r"lacks \d+ weights",
        ),
        (lambda each: each["model.norm.weight"].fill_(float("nan")), "model.norm.weight holds values that are no"),
        (lambda each: each.update({"model.norm.weight": torch.ones(3)}), "can't be loaded|other shapes"),
    ],
)
def test_a_network_never_runs_on_weights_that_its_files_do_not_hold(folder, tmp_path, change, message):
    weights(folder, change)
    with pytest.raises(StudyError, match=message):
        load_model(fetched(folder, tmp_path), "none", "float32", "cpu")


def test_an_adapter_that_came_after_the_fetch_is_not_attached(folder, tmp_path):
    card = fetched(folder, tmp_path)
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(StudyError, match="adapter"):
        load_model(card, "none", "float32", "cpu")


def test_a_tokenizer_that_loses_the_words_is_refused(folder, tmp_path):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"] = {"a": 0, "b": 1}
    content["added_tokens"] = [token | {"id": 2 + at} for at, token in enumerate(content["added_tokens"])]
    path.write_text(json.dumps(content))
    with pytest.raises(StudyError, match=r"a file of it is missing|can't be read"):
        load_tokenizer(fetched(folder, tmp_path))


@pytest.mark.parametrize(
    ("name", "warns"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", True),
        ("models/gemma-3-4b-it", True),
        ("meta-llama/Llama-2-7b-chat-hf", True),
        ("Qwen/Qwen2.5-3B", False),
        ("models/writing", False),
    ],
)
def test_a_chat_model_without_its_template_is_warned_of(folder, tmp_path, name, warns):
    card = fetched(folder, tmp_path).model_copy(update={"source": {"folder": name}})
    without = SimpleNamespace(chat_template=None)
    said = warn_of_missing_template(card, without)
    assert bool(said) == warns
    assert warn_of_missing_template(card, SimpleNamespace(chat_template="{{ messages }}")) == []
    assert all("no chat template" in sentence for sentence in said)
