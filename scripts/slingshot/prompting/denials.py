"""Which mentions in a text are denied: "not J18.9", "rather than J18.9", "J18.9 is ruled out"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Words that may stand between a denial and what it denies. "not elsewhere classified G89.4" denies nothing.
_BETWEEN = (
    r"(?:(?:a|an|the|any|as|be|for|of|in|is|it|to|by|that|with|under|either|both|evidence|signs?|diagnosis|code|codes|"
    r"coded?|icd|icd-?10|icd-?10-cm|use|using|used|choose|assign|consistent|case|typical|really|der|die|das|den|ein|"
    r"eine|um|el|la|un|una|de|es|le|l|une|du|c)[\s:'\"`*_()\-]+)*"
)

_BEFORE = re.compile(
    r"(?:\b(?:not|never|no|neither|without|cannot\s+be|n['o]t|nicht|keine?[nrs]?|statt|anstatt|weder|pas|ni|sin|"
    r"rather\s+than|instead\s+of|other\s+than|exclud(?:e|es|ed|ing)|rul(?:e|es|ed|ing)\s+out|as\s+opposed\s+to|"
    r"en\s+lugar\s+de|en\s+vez\s+de|au\s+lieu\s+de|plut\u00f4t\s+que|previously|wrongly)|n't)"
    r"[\s'\"`*_(]+(?:" + _BETWEEN + r"[\s'\"`*_(\[]*|"
    r"(?!elsewhere|otherwise|specified|known|complicat)(?:[\w'-]+\s+){1,4}[*_`]*\([*_`]*)\Z",  # "not pneumonia (J18.9)"
    re.IGNORECASE,
)

_NOT = r"(?:not|n't|never|no\s+longer)"

_RIGHT = (
    r"(?:\s+(?:be|a|an|the|really|fully|quite))*\s+(?:correct|right|appropriate|applicable|supported|specific|suitable|"
    r"present|likely|used|indicated|justified|accurate|code|diagnosis|answer|case|best|apply|fit|match|it)\b"
)

_AFTER = re.compile(
    r"\A[\s'\"`*_)\]]*(?:\([^)\n]*\)\s*)?(?:,?\s*(?:which|that|however|though)\s+)?"
    rf"(?:(?:is|was|are|were|would|does|do|did|can|could|should|must|may|has|have)\s*{_NOT}{_RIGHT}"
    r"|(?:is|was|seems|would\s+be|can\s+be|could\s+be|has\s+been|should\s+be|ist|est|es|queda)\s+(?:clearly\s+|therefore\s+)?"
    r"(?:incorrect|wrong|inappropriate|inapplicable|unlikely|less\s+likely|ruled\s+out|excluded|rejected|"
    r"ausgeschlossen|falsch|exclue?|descartad[oa]|incorrect[oa]e?)"
    r"|[(\[:,\-]\s*(?:ruled\s+out|excluded|incorrect|wrong|rejected|unlikely|ausgeschlossen|descartad[oa])\b"
    r"|no\s+es\b|n'est\s+pas\b|ist\s+(?:es\s+)?nicht\b|trifft\s+nicht\s+zu)",
    re.IGNORECASE,
)

LONGEST_LINK = 80  # characters between two members of a list; the pattern's time grows faster than its text

# What joins the members of a list; "or" and its like carry a denial on, "but" ends it.
_JOINED = re.compile(r"\A[\s'\"`*_)\],/]*(or|nor|oder|noch|ni|ou|o)?[\s'\"`*_(\[]*" + _BETWEEN + r"\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A label that stands at `start:end` of a text."""

    label: str
    start: int
    end: int


def undenied(text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """The mentions that the text does not deny, in their order. `text` has plain dashes and apostrophes."""
    denied = [_is_denied(text, mention) for mention in mentions]
    first = 0
    for index in range(1, len(mentions) + 1):
        if index < len(mentions) and _joined(text, mentions[index - 1], mentions[index]) is not None:
            continue
        links = [_joined(text, mentions[at - 1], mentions[at]) for at in range(first + 1, index)]
        if denied[first] and any(links):  # "neither A, B nor C"
            denied[first:index] = [True] * (index - first)
        first = index
    return [mention for mention, no in zip(mentions, denied, strict=True) if not no]


def _is_denied(text: str, mention: Mention) -> bool:
    before = text[max(mention.start - 80, 0) : mention.start]
    clause = re.split(r"[.!?;]\s|\n|\bbut\b|\bsondern\b|\bsino\b|\bmais\b", before)[-1]
    return bool(_BEFORE.search(clause) or _AFTER.match(text[mention.end : mention.end + 100]))


def _joined(text: str, one: Mention, other: Mention) -> str | None:
    """What joins two mentions of one list: "or", or "" for a comma; None where they are apart."""
    between = text[one.end : other.start]
    match = _JOINED.match(between) if len(between) <= LONGEST_LINK else None
    return None if match is None else match[1] or ""
