"""Cells that hold a name (a label, a group, a description, a split), and cells that hold none.

Texts are cleaned in cleaning.py; here a name becomes one visible line that two rows can be compared by.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Collection, Sequence
from datetime import date, time
from functools import lru_cache
from typing import Any

from slingshot.config.data import NULLS

FROM_LIST = "label taken out of a list"

FROM_FLOAT = "label written as a float"

GROUP_FLOAT = "group written as a float"

UNSEEN = "invisible characters or Unicode form of the label fixed"

DESCRIPTION_FORM = "description joined, decoded or left out: not one text"

SEVERAL = "several labels in one row"

NOT_TEXT = "text is not a string"

A_DATE = "label is a date, which a spreadsheet may have made of a code (3-5): write labels as text"

NOT_A_NAME = "label is an object or bytes that are not UTF-8"

_LONGEST_LITERAL = 20_000  # characters of a list that Python's own parser is asked to read

_SIDE_BY_SIDE = re.compile(r"""['"]\s+['"]""")  # ['E119' 'I10'], as NumPy prints an array

_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")

_FLOAT = re.compile(r"^(-?\d+)\.0$")  # as programs write 1.0; more zeros are somebody's own

_PADDED_FLOAT = re.compile(r"^(-?\d+)\.0+$")

# Soft hyphens, zero-width blanks, marks of direction, byte order marks, halves of surrogate pairs.
_INVISIBLE = re.compile(
    "[\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)

_JOINERS = "\u200c\u200d"  # join letters inside words of Persian or Hindi; at a word's edge they only hide

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def visible(text: str) -> str:
    """One line without what can't be seen: composed (NFC), one blank between words, none around them."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text)))
    return " ".join(word for part in text.split() if (word := part.strip(_JOINERS)))


def shown(value: Any, looks_plain: bool = False) -> str:
    """A value as a message may print it: what can't be seen is escaped.

    Args:
        looks_plain: escape each character outside ASCII, too, as a Cyrillic E looks like a Latin one
    """
    text = str(value)
    if looks_plain and text.isprintable() and not text.isascii():
        return f"{text[:100]}, which is {text[:100]!a}"
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


@lru_cache(maxsize=64)
def _null_words(nulls: tuple[str, ...]) -> frozenset[str]:
    return frozenset({"", *(visible(word).casefold() for word in nulls)})


def is_null(text: str, nulls: Collection[str] = NULLS) -> bool:
    """Whether a cell's text means that it is empty: `NULL`, `nan`, `N/A`, `-`."""
    return text.casefold() in _null_words(tuple(nulls))


def text_value(cells: Sequence[Any], nulls: Collection[str] = NULLS) -> str:
    """The text of a row: its cells joined by a blank line, a list of turns line by line; "" where nothing stands.

    Raises:
        ValueError: a cell is no text.
    """
    parts = []
    for cell in cells:
        if isinstance(cell, list) and all(isinstance(turn, str) for turn in cell):
            cell = "\n".join(cell)
        if cell is None or cell != cell:  # NaN is what pandas writes for nothing
            continue
        if not isinstance(cell, str):
            raise ValueError(NOT_TEXT)
        if not is_null(cell.strip(), nulls):
            parts.append(cell)
    return "\n\n".join(parts)


def plain_value(value: Any, nulls: Collection[str] = (), as_written: bool = False) -> tuple[str | None, list[str]]:
    """A label's cell as one visible text, or None where it is empty, and what had to be changed for that.

    A list of one is its element, whether a list or written as `['A047']`; a whole number is written without `.0`.

    Args:
        as_written: keep `.0`, where other labels have decimals

    Raises:
        ValueError: several labels stand in the cell, a date, or something that is no name.
    """
    changes = []
    if any(isinstance(each, date | time) for each in (value if isinstance(value, list | tuple) else [value])):
        raise ValueError(A_DATE)
    if isinstance(value, list | tuple):
        value = _only(list(value), as_written)
        changes.append(FROM_LIST)
    elif isinstance(value, str) and (parts := _written_list(value, bare_commas=False)) is not None:
        value = _only(parts, as_written)
        changes.append(FROM_LIST)
    text, how = _name(value, None if as_written else _FLOAT)
    if how == "not":
        raise ValueError(NOT_A_NAME)
    if text is None or is_null(text, nulls):
        return None, []
    changes += [FROM_FLOAT] if how == "float" else [UNSEEN] if how == "unseen" else []
    return text, changes


def label_values(
    value: Any, separator: str | None, nulls: Collection[str] = (), as_written: bool = False
) -> tuple[list[str], list[str]]:
    """A cell's labels, each one visible text, in their order, and what had to be changed.

    Args:
        separator: between the labels of a text that is no list
        as_written: keep `.0`, where other labels have decimals

    Raises:
        ValueError: a label is no name.
    """
    if isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, str) and (listed := _written_list(value)) is not None:
        parts = listed
    else:
        parts = value.split(separator) if isinstance(value, str) and separator else [value]
    found = [plain_value(part, nulls, as_written) for part in parts]
    changes = [change for _, changed in found for change in changed]
    return [text for text, _ in found if text is not None], list(dict.fromkeys(changes))


def _written_list(text: str, bare_commas: bool = True) -> list[Any] | None:
    """The values of a list as JSON or Python writes it, or of one without quotation marks; None where it is no list.

    In time linear to the text.

    Args:
        bare_commas: part values that have no quotation marks; without it `[pain, acute]` is one
    """
    text = text.strip()
    if len(text) < 2 or not (text.startswith("[") and text.endswith("]")):
        return None
    for parse in (json.loads, _python_literal):
        try:
            found = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, list):
            return found
    inner = text[1:-1].strip()
    if _SIDE_BY_SIDE.search(inner) and "," not in inner:
        return [_unquoted(part) for part in _QUOTED.findall(inner)]
    parts = inner.split(",") if bare_commas else [inner.removesuffix(",")]
    return [_unquoted(part.strip()) for part in parts if part.strip()]


def _python_literal(text: str) -> Any:
    if len(text) > _LONGEST_LITERAL or _SIDE_BY_SIDE.search(text):
        return None  # Python would join the strings that NumPy prints side by side
    return ast.literal_eval(text)


def _unquoted(text: str) -> str:
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def group_value(value: Any, nulls: Collection[str] = NULLS) -> tuple[str | None, list[str]]:
    """A group's cell as one visible text: `5`, 5 and `5.0` are the same group, `NULL` is none.

    Raises:
        ValueError: the cell holds something that is no name.
    """
    if isinstance(value, list | tuple):
        value = _only(list(value))
    text, how = _name(value, _PADDED_FLOAT)
    if how == "not":
        raise ValueError(NOT_A_NAME)
    if text is None or is_null(text, nulls):
        return None, []
    return text, [GROUP_FLOAT] if how == "float" else []


def description_value(value: Any, nulls: Collection[str] = NULLS) -> tuple[str | None, list[str]]:
    """A description's cell as one line; the parts of a list are joined by `; `. Numbers and objects are left out."""
    changes = []
    if isinstance(value, list | tuple):
        names = [text for part in value if (text := _name(part)[0]) and not is_null(text, nulls)]
        value = "; ".join(dict.fromkeys(names))
        changes.append(DESCRIPTION_FORM)
    text, how = _name(value)
    if text is None or is_null(text, nulls):
        return None, [DESCRIPTION_FORM] if how == "not" else []
    if not isinstance(value, str | bytes):
        return None, [DESCRIPTION_FORM]
    return text, changes


def _name(value: Any, whole: re.Pattern[str] | None = _FLOAT) -> tuple[str | None, str]:
    """A scalar as one visible text, and how that was had: "as is", "float", "unseen", or "not" where it is no name.

    Args:
        whole: what is read as a whole number
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None, "not"
    if value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "<NA>":
        return None, "as is"
    if isinstance(value, dict | list | tuple | set):
        return None, "not"
    if isinstance(value, float) and value.is_integer() and abs(value) >= 1e16:
        return str(int(value)), "float"  # written 1e+16
    raw = str(value)
    text = visible(raw)
    if whole is not None and (match := whole.match(text)):
        return match[1], "float"
    return text or None, "as is" if " ".join(raw.split()) == text else "unseen"


def _only(values: list[Any], as_written: bool = False) -> Any:
    """The one distinct value of a list; None of an empty one.

    Raises:
        ValueError: it holds several, or something that is no name.
    """
    found = [_name(value, None if as_written else _FLOAT) for value in values if value is not None]
    if any(how == "not" for _, how in found):
        raise ValueError(NOT_A_NAME)
    names = list(dict.fromkeys(name for name, _ in found))
    if len(names) > 1:
        raise ValueError(SEVERAL)
    return names[0] if names else None
