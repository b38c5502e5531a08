"""manifest.json of an unpacked archive: the digest of each file, as packed and as it was in the study."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.records import describe_fault
from slingshot.core.errors import StudyError
from slingshot.core.files import read_json
from slingshot.core.hashing import digest_of_file


class PackedFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    original: str = Field(description="of the file in the study; another one where texts were left out")


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: bool = Field(description="whether the splits hold their texts")
    files: dict[str, PackedFile] = Field(description="path from the study's folder to its digests")


def read_manifest(results: ResultFiles) -> Manifest | None:
    """The manifest of a study that was unpacked from an archive; None for one that was run here."""
    if not results.manifest.exists():
        return None
    try:
        return Manifest.model_validate(read_json(results.manifest))
    except ValidationError as error:
        raise StudyError(f"{describe_fault(error, results.manifest)}, or unpack the archive again") from None


def verify_files(study: Path, manifest: Manifest) -> None:
    """Hold every packed file against its digest.

    Raises:
        StudyError: a file was changed or is missing; names it.
    """
    for name, packed in manifest.files.items():
        path = study / name
        if not path.exists():
            raise StudyError(f"{path} is missing: unpack the archive again")
        if digest_of_file(path) != packed.sha256:
            raise StudyError(f"{path} is not what was archived: its digest differs; unpack the archive again")


def original_digest(path: Path, results: ResultFiles) -> str:
    """The digest that a file has, or had before its texts were left out."""
    manifest = read_manifest(results)
    name = path.relative_to(results.folder.parent).as_posix()
    if manifest is not None and name in manifest.files:
        return manifest.files[name].original
    return digest_of_file(path)
