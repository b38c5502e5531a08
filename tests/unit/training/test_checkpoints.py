"""A checkpoint is whole or absent, and a damaged one is noticed."""

import logging

import pytest
import torch

from slingshot.artifacts.model_card import read_model_card
from slingshot.training.checkpoints import (
    Checkpoint,
    newest_checkpoint,
    open_folder,
    remove_checkpoints,
    run_key,
    write_checkpoint,
)
from slingshot.training.state import FinetuneJob
from tests.unit.training_inputs import paths, spec, write_study


def made(step):
    return Checkpoint(step, {"loss": step / 2}, {"weight": torch.full((3,), float(step))})


@pytest.fixture
def folder(tmp_path):
    return open_folder(tmp_path / "adapter", "key")


def test_the_newest_comes_back_and_two_are_kept(folder):
    assert newest_checkpoint(folder) is None
    for step in (1, 2, 3):
        write_checkpoint(folder, made(step))
    found = newest_checkpoint(folder)
    assert found.step == 3 and found.facts == {"loss": 1.5} and found.tensors["weight"].tolist() == [3, 3, 3]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("poison", ["flip", "cut", "gone", "json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(folder, poison, caplog):
    write_checkpoint(folder, made(1))
    write_checkpoint(folder, made(2))
    path = folder / "step-0000002.safetensors"
    content = bytearray(path.read_bytes())
    if poison == "flip":
        content[-1] ^= 1
        path.write_bytes(content)
    elif poison == "cut":
        path.write_bytes(content[:-5])
    elif poison == "gone":
        path.unlink()
    else:
        path.with_suffix(".json").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(folder).step == 1
    assert "step-0000002" in caplog.text and "damaged" in caplog.text


def test_a_write_that_was_cut_off_left_nothing(folder):
    write_checkpoint(folder, made(1))
    (folder / "step-0000002.safetensors").write_bytes(b"half")  # killed before its .json
    assert newest_checkpoint(folder).step == 1


def test_checkpoints_of_another_run_are_removed_and_success_removes_all(tmp_path):
    write_checkpoint(open_folder(tmp_path / "adapter", "old"), made(1))
    mine = open_folder(tmp_path / "adapter", "new")
    assert newest_checkpoint(mine) is None and [path.name for path in mine.parent.iterdir()] == ["new"]
    remove_checkpoints(tmp_path / "adapter")
    assert not mine.parent.exists()


def test_a_network_of_another_depth_goes_on_from_no_checkpoint_of_this_one(tmp_path):
    """A network of the hub keeps its commit when it is cut."""
    write_study(tmp_path)
    job = FinetuneJob(spec=spec(), arm="slm/tiny", device="cpu", **paths(tmp_path, "out"))
    card = read_model_card(tmp_path / "card.json")
    assert run_key(job, card) == run_key(job, card.model_copy())
    assert run_key(job, card) != run_key(job, card.model_copy(update={"layers": card.layers - 1}))
