"""What a file really is, whatever its name says: compressed, a workbook, or nothing that can be read as data."""

from __future__ import annotations

import codecs
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import pyarrow

from slingshot.core.errors import StudyError


class SourceKeyError(StudyError):
    """A file is not as its name says, which a key of the study's own source can say; no key speaks of other files.

    Args:
        setting: key and value of the source, e.g. `sheet: NAME`.
        otherwise: what to do with the file instead.
    """

    def __init__(self, what: str, setting: str, otherwise: str) -> None:
        self._parts = what, setting, otherwise
        super().__init__(self.of_source("data.source"))
        self.without_keys = f"{what}: {otherwise}"

    def of_source(self, key: str) -> str:
        """The message where this key names the file."""
        what, setting, otherwise = self._parts
        return f"{what}: set {key}.{setting}, or {otherwise}"


SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")

COMPRESSED_SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}

_COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}

# The beginning of a file, what it is, and what to do.
_REFUSED = (
    (b"version https://git-lfs", "a Git LFS pointer, not the data itself", "run `git lfs pull`"),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.xls, .doc)", "save it as .xlsx or as CSV in UTF-8"),
    (b"\xfd7zXZ", "compressed with xz", "unpack it, or pack it with gzip, bz2 or zstd"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"\x04\x22\x4d\x18", "compressed with lz4", "unpack it, or pack it with gzip, bz2 or zstd"),
    (b"\x1f\x9d", "compressed with compress", "unpack it, or pack it with gzip, bz2 or zstd"),
    (b"\x89PNG", "a picture", "get the table that it shows"),
    (b"\xff\xd8\xff", "a picture", "get the table that it shows"),
    (b"<?xml", "an XML document", "save its table as .xlsx or as CSV in UTF-8"),
    (b"RDX", "an R file", "save it as Parquet or as CSV in UTF-8"),
    (b"RDA", "an R file", "save it as Parquet or as CSV in UTF-8"),
    (b"HEADER RECORD****", "a SAS transport file", "save it as CSV in UTF-8"),
    (b"FEA1", "an old Feather file", "save it as Parquet"),
    (b"\xef\xbb\xbf<?xml", "an XML document", "save its table as .xlsx or as CSV in UTF-8"),
    (b"ARROW1", "an Arrow (Feather) file", "save it as Parquet"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "save it as Parquet"),
    (b"Obj\x01", "an Avro file", "save it as Parquet"),
    (b"ORC", "an ORC file", "save it as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF", "get the table that it was printed from"),
    (b"{\\rtf", "a rich text document", "save it as CSV in UTF-8"),
    (b"\x80\x04", "a Python pickle, which we never open", "save it as Parquet"),
    (b"\x80\x05", "a Python pickle, which we never open", "save it as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "save it as Parquet"),
    (b"\x89HDF", "an HDF5 file", "save it as Parquet"),
    (b"$FL2", "an SPSS file", "save it as CSV in UTF-8"),
    (b"<stata_dta", "a Stata file", "save it as CSV in UTF-8"),
)

_WEB_PAGE = (b"<!doctype html", b"<html")

_LOOKED_AT = 16_000_000  # bytes

_UNUSED_IN_LATIN_1 = tuple(bytes([byte]) for byte in range(0x80, 0xA0) if byte != 0x85)  # NEL is a line end there

_IN_UTF8 = "save the file in UTF-8"

_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def kind_of_name(path: Path) -> str:
    """The suffix that says how to read a file, without that of a compression: `.csv` of `A.CSV.gz`."""
    if path.suffix.lower() in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return path.suffix.lower()


def is_data(path: Path) -> bool:
    return kind_of_name(path) in SUFFIXES


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if it is compressed, whatever its name."""
    with path.open("rb") as content:
        start = content.read(8)
    compression = next((name for mark, name in _COMPRESSIONS.items() if start.startswith(mark)), None)
    if compression is None:
        return path.open("rb")
    return io.BufferedReader(_Unpacked(pyarrow.input_stream(str(path), compression=compression)))


class _Unpacked(io.RawIOBase):
    """A pyarrow stream as Python's own."""

    def __init__(self, stream: pyarrow.NativeFile) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def kind_of_content(path: Path, encoding: str) -> str:
    """How a file is to be read: `.csv`, `.tsv`, `.jsonl`, `.parquet` or `.xlsx`. A workbook is read whatever its name.

    Raises:
        StudyError: it is something else; says what and what to do.
    """
    named = kind_of_name(path)
    try:
        with open_bytes(path) as content:
            start = content.read(1024)
    except (OSError, pyarrow.ArrowException) as error:
        raise StudyError(f"{path} can't be unpacked ({_first_line(error)}); copy or download it again") from None
    if start.startswith(b"PK\x03\x04"):
        _refuse_archives(path)
        return ".xlsx"
    for mark, what, fix in _REFUSED:
        if start.startswith(mark):
            raise StudyError(f"{path} is {what}: {fix}")
    if start.lstrip(b"\xef\xbb\xbf \r\n\t").lower().startswith(_WEB_PAGE):
        raise StudyError(f"{path} is a web page, not data: the download failed (a login or a wrong link)")
    if start.startswith(b"PAR1") and named != ".parquet":
        raise StudyError(f"{path} is a Parquet file: rename it to {path.stem}.parquet")
    if named in (".csv", ".tsv") and start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b'{"', b"[{")):
        raise StudyError(f"{path} is JSON: write one object per line (jq -c '.[]') and name it .jsonl")
    if start[257:262] == b"ustar":
        raise StudyError(f"{path} is a tar archive: unpack it")
    if named == ".xlsx":
        raise StudyError(f"{path} is no workbook: if it is text, rename it to .csv or .tsv")
    if named != ".parquet":
        _refuse_wrong_encoding(path, start, encoding)
        _refuse_other_text(path, encoding)
    return named


def _refuse_archives(path: Path) -> None:
    try:
        with open_bytes(path) as content:
            names = zipfile.ZipFile(io.BytesIO(content.read())).namelist()
    except zipfile.BadZipFile:
        raise StudyError(f"{path} is a zip archive cut short; copy or download it again") from None
    if "xl/workbook.xml" in names:
        return
    if any(name.startswith("word/") for name in names):
        raise StudyError(f"{path} is a Word document: save its table as CSV in UTF-8")
    if "content.xml" in names:
        raise StudyError(f"{path} is an OpenDocument file: save it as .xlsx or as CSV in UTF-8")
    raise StudyError(f"{path} is a zip archive ({', '.join(names[:3])}): unpack it")


def _refuse_other_text(path: Path, encoding: str) -> None:
    """Stop where an encoding of one byte per character would read UTF-8 or cp1252 without a fault, but wrongly.

    The first 16 million bytes are looked at.

    Raises:
        StudyError: names the encoding that the bytes are of.
    """
    try:
        found = codecs.lookup(encoding).name
    except LookupError:
        return  # said where the file is opened
    if found in ("utf-8", "utf-8-sig") or found.startswith(("utf-16", "utf-32")):
        return
    with open_bytes(path) as content:
        seen = content.read(_LOOKED_AT).rpartition(b"\n")[0]
    if seen.isascii():
        return
    with suppress(UnicodeDecodeError):
        seen.decode("utf-8")
        raise StudyError(f"data.source.encoding: {path} is UTF-8, not {encoding}: leave the key out")
    if found == "iso8859-1" and any(byte in seen for byte in _UNUSED_IN_LATIN_1):
        raise StudyError(
            f"data.source.encoding: {path} holds bytes that mean nothing in {encoding} but quotation marks, dashes or "
            "the like in cp1252: set cp1252"
        )


def _refuse_wrong_encoding(path: Path, start: bytes, encoding: str) -> None:
    """UTF-16 and UTF-32 have marks or zero bytes; everything else is found while decoding."""
    if not start or encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        return
    wide = start.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff"))
    if wide or start.startswith(_UTF16):
        name = "utf-32" if wide else "utf-16"
        raise SourceKeyError(f"{path} is {name.upper()}, not UTF-8", f"encoding: {name}", _IN_UTF8)
    if start.count(b"\x00") > len(start) // 4:
        name = "utf-16-le" if start[1:2] == b"\x00" else "utf-16-be"
        raise SourceKeyError(f"{path} holds zero bytes, as UTF-16 does", f"encoding: {name}", _IN_UTF8)


def encoding_fault(path: Path, encoding: str, error: UnicodeError) -> SourceKeyError:
    """Name the line of the first byte that can't be decoded: the decoder itself knows only its own chunk."""
    name = encoding.upper()
    what = f"{path} is not {name} ({error})"
    if not encoding.lower().startswith(("utf-16", "utf-32")):
        with open_bytes(path) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as fault:
                    what = f"{path}, line {number}: byte 0x{line[fault.start]:02x} is not {name}"
                    break
    return SourceKeyError(what, "encoding (cp1252 for Windows, latin-1)", _IN_UTF8)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
