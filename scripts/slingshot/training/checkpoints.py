"""Checkpoints of a training run: atomic, checked by digest, and of use only to the very run that wrote them.

They lie beside the adapter, in checkpoints/KEY/, where KEY is a digest of all that the run's result depends on.
A checkpoint is step-N.safetensors (tensors) and step-N.json (facts, with the tensors' digest), written in this order:
a checkpoint without its .json does not exist.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from slingshot.artifacts.model_card import ModelCard
from slingshot.core.files import replacing, write_json
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.nn.class_head import load_trained_state, trained_state
from slingshot.training.state import FinetuneJob, State, Trainer

log = logging.getLogger(__name__)

KEPT = 2  # the newest, and the one before it in case the newest is damaged


@dataclass(frozen=True)
class Checkpoint:
    step: int
    facts: dict[str, Any]
    tensors: dict[str, Tensor]


def open_folder(beside: Path, key: str) -> Path:
    """The folder of this run's checkpoints; those of other runs of the same arm are removed."""
    root = beside.parent / "checkpoints"
    mine = root / key
    mine.mkdir(parents=True, exist_ok=True)
    for other in root.iterdir():
        if other != mine:
            log.info("checkpoints in %s are of another configuration, code or data: removed", other)
            shutil.rmtree(other, ignore_errors=True)
    return mine


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that a kill at any time leaves it whole or absent, then drop old ones."""
    path = _tensors_path(folder, checkpoint.step)
    needs = sum(value.nbytes for value in checkpoint.tensors.values())
    with replacing(path, needs) as temporary:
        save_file({name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}, temporary)
        digest = digest_of_file(temporary)
    write_json(path.with_suffix(".json"), {"step": checkpoint.step, "digest": digest, "facts": checkpoint.facts})
    for step in _steps(folder)[:-KEPT]:
        _tensors_path(folder, step).with_suffix(".json").unlink(missing_ok=True)
        _tensors_path(folder, step).unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are named in a warning and passed over."""
    for step in reversed(_steps(folder)):
        path = _tensors_path(folder, step)
        try:
            head = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            if head["step"] == step and digest_of_file(path) == head["digest"]:
                return Checkpoint(step, head["facts"], load_file(path))
            reason = "its content does not match its digest"
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        log.warning("checkpoint %s is damaged and not used: %s", path, reason)
    return None


def remove_checkpoints(beside: Path) -> None:
    """Remove all checkpoints of the arm whose adapter is at `beside`."""
    shutil.rmtree(beside.parent / "checkpoints", ignore_errors=True)


def _tensors_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:07d}.safetensors"


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.json"))


def run_key(job: FinetuneJob, card: ModelCard) -> str:
    """A digest of all that this run's result depends on."""
    inputs = [*map(digest_of_file, (job.train, job.validation, job.labels)), card.network]
    return digest_of_text("\0".join([job.spec.model_dump_json(), *inputs]))[:16]


def as_checkpoint(trainer: Trainer, state: State) -> Checkpoint:
    """Adapter, best adapter, AdamW's moments and the random state; data position and rate follow from the step."""
    tensors = {f"adapter/{name}": value for name, value in trained_state(trainer.model).items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for index, held in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in held.items()}
    tensors["random"] = torch.get_rng_state()
    seconds = state.earlier_seconds + time.monotonic() - trainer.started
    return Checkpoint(state.step, state.facts() | {"earlier_seconds": seconds}, tensors)


def restore_newest(trainer: Trainer, folder: Path | None) -> State | None:
    """Put the newest whole checkpoint back into the trainer; None where there is none."""
    found = newest_checkpoint(folder) if folder is not None else None
    if trainer.workers.count > 1:
        box = [found]
        torch.distributed.broadcast_object_list(box, src=0)
        found = box[0]
    if found is None:
        return None
    under = lambda prefix: {  # noqa: E731
        name.removeprefix(prefix): value for name, value in found.tensors.items() if name.startswith(prefix)
    }
    load_trained_state(trainer.model, under("adapter/"))
    trainer.path.refresh()
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in under("optimizer/").items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(found.tensors["random"])
    log.info("going on from the checkpoint of step %d", found.step)
    return State(**found.facts, best=under("best/"))
