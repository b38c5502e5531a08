"""models/{model}.json: where a model's files are, their digests, and its number of parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from slingshot.artifacts.records import Record, read_record
from slingshot.core.errors import MissingFileError, StudyError


class Base(NamedTuple):
    """What an adapter says that it belongs to."""

    name: str
    revision: str | None


class ModelCard(Record):
    """results/models/{model}.json: which weights a study ran on."""

    name: str
    source: dict[str, Any] = Field(description="as the config names it")
    revision: str = Field(description="the hub's commit, or a digest over the files' digests")
    folder: str = Field(description="plain safetensors; a relative path counts from the card's folder")
    files: dict[str, str] = Field(description="file to its SHA-256")
    parameters: int = Field(description="stored parameters; tied embeddings count once")
    layers: int
    architecture: str

    @property
    def network(self) -> str:
        """What tells it from other networks: its revision, and its depth, as one that is cut keeps the hub's commit."""
        return f"{self.revision} {self.layers}"

    @property
    def base(self) -> Base:
        """The id and the commit under which the hub has the model; the study's name for it and None elsewhere."""
        hub = self.source.get("hub")
        return Base(str(hub), self.revision) if hub else Base(self.name, None)


def read_model_card(path: Path | str) -> ModelCard:
    """Read a card; its `folder` comes back absolute.

    Raises:
        StudyError: the folder that it names is gone, e.g. because the hub's cache was emptied.
    """
    path = Path(path)
    try:
        card = read_record(ModelCard, path)
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing: make it with `snakemake {path}`", str(path)) from None
    card.folder = str((path.parent / card.folder).resolve())
    gone = [name for name in card.files if not (Path(card.folder) / name).exists()]
    if gone:
        raise StudyError(
            f"{card.folder} lacks {', '.join(gone)}: fetch the model again with `snakemake --force {path}`"
        )
    return card
