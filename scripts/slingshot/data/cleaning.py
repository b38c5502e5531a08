"""Texts as the study sees them: what a dialogue's cleaning changes, and what counts as a word.

Cleaning takes away the marks of a document's form (code fences, heading marks, turn marks of different kinds)
and keeps every word of its content. It is idempotent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

FENCE = "code fence removed"

HEADING = "heading marks removed"

TURN = "turn marks rewritten"

FORM = "control characters or Unicode form fixed"

_ROLES = {
    *("doctor", "dr", "physician", "clinician", "provider", "nurse", "therapist", "interviewer", "interpreter"),
    *("patient", "pt", "parent", "mother", "father", "mom", "dad", "guardian", "caregiver", "caretaker", "speaker"),
    *("family", "spouse", "wife", "husband", "daughter", "son", "child", "guest_family", "guest_clinician"),
}

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*(?:\n|\Z)", re.MULTILINE)

_HEADING = re.compile(r"^[ \t]*(?:#{2,}+[ \t]*|#[ \t]+)++", re.MULTILINE)

_NAME = r"([A-Za-z]+(?:_[A-Za-z]+)?)(?:[_ ]?\d)?"

_BRACKETED_TURN = re.compile(rf"(?<![ \t])[ \t]*\[[ \t]*({_NAME})[ \t]*\](?:[ \t]*:)?[ \t]*")

_BOLD_TURN = re.compile(
    rf"^[ \t]*(?:\*\*|__)[ \t]*\[?({_NAME})\]?[ \t]*(?::[ \t]*(?:\*\*|__)|(?:\*\*|__)[ \t]*:)[ \t]*", re.MULTILINE
)

_PLAIN_TURN = re.compile(rf"^(?!(?:Doctor|Patient): \S)({_NAME})[ \t]*:[ \t]*", re.MULTILINE)  # (?!…): the common case

# What separates lines or records is a line end, a separator of units a blank; the rest of the controls means nothing.
_LINE_ENDS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"

_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\v\f\x1c\x1d\x1e\x1f")) + b"\x7f"

_SEPARATOR_BYTES = bytes.maketrans(b"\v\f\x1c\x1d\x1e\x1f", b"\n\n\n\n\n ")

_SEPARATORS = {**dict.fromkeys(map(ord, _LINE_ENDS), "\n"), 0x1F: " "}

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\ud800-\udfff]")

_BLANK_LINES = re.compile(r"\n{3,}")

_WORD = re.compile(r"\w+")


def clean(text: str) -> tuple[str, list[str]]:
    """A text without the marks of its form, and what was changed besides white space.

    Turns come out as `Doctor: …`, one per line, whatever marked them.
    """
    text = _fix_space(text)
    changes: list[str] = []
    while True:
        before = text
        for change, rule in _RULES:
            after = rule(text)
            if after != text and (after := _fix_space(after)) != text:
                if after.split() != text.split():
                    changes.append(change)
                text = after
        if text == before:
            return text, list(dict.fromkeys(changes))


def has_words(text: str) -> bool:
    return _WORD.search(text) is not None


def words(text: str) -> list[str]:
    """Runs of letters and digits, case folded: what is counted, hashed and compared."""
    return _WORD.findall(text.casefold())


def _fix_form(text: str) -> str:
    if text.isascii():
        return text.encode("ascii").translate(_SEPARATOR_BYTES, _CONTROL_BYTES).decode("ascii")
    return _CONTROL.sub("", unicodedata.normalize("NFC", text.translate(_SEPARATORS)))


def _fix_space(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "\n".join([line.rstrip() for line in text.split("\n")])
    return _BLANK_LINES.sub("\n\n", text).strip()


def _remove_fences(text: str) -> str:
    return _FENCE.sub("", text).replace("```", "") if "```" in text or "~~~" in text else text


def _remove_headings(text: str) -> str:
    return _HEADING.sub("", text) if "#" in text else text


def _rewrite_turns(text: str) -> str:
    if "**" in text or "__" in text:
        text = _BOLD_TURN.sub(_turn, text)
    if "[" in text:
        text = _BRACKETED_TURN.sub(_turn_of_its_own_line, text)
    return _PLAIN_TURN.sub(_turn, text)


def _turn(match: re.Match[str], before: str = "") -> str:
    """`Doctor: ` where a speaker is named, else what was there."""
    speaker = _speaker(match[1], match[2])
    return match[0] if speaker is None else f"{before}{speaker}: "


@lru_cache(maxsize=10_000)
def _speaker(name: str, role: str) -> str | None:
    return name[0].upper() + name[1:].lower() if role.casefold() in _ROLES else None


def _turn_of_its_own_line(match: re.Match[str]) -> str:
    at_start = not match.start() or match.string[match.start() - 1] == "\n"
    return _turn(match, "" if at_start else "\n")


_RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    (FORM, _fix_form),
    (FENCE, _remove_fences),
    (HEADING, _remove_headings),
    (TURN, _rewrite_turns),
)
