"""Whether a prompt's tokens, decoded, still hold its dialogue: a tokenizer or a template can lose words silently."""

from __future__ import annotations

import re
import unicodedata

LEAST_KEPT = 0.9  # share of a dialogue's words; a rare letter that a vocabulary lacks is no fault

_PIECE = 12  # letters; what is longer is looked for in pieces, as texts without blanks are one word


def share_kept(text: str, said: str) -> float:
    """Share of a dialogue's words that `said` holds; letter case, accents, blanks and marks do not count.

    Args:
        text: the dialogue.
        said: its prompt's tokens, decoded.
    """
    if text.strip() in said:  # the usual case, and fast
        return 1.0
    whole = _letters(said)
    if _letters(text) in whole:
        return 1.0
    pieces = [
        word[start : start + _PIECE] for word in map(_letters, text.split()) for start in range(0, len(word), _PIECE)
    ]
    return sum(piece in whole for piece in pieces) / len(pieces) if pieces else 1.0


def _letters(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)  # a letter, then its accents, which the next line drops
    return re.sub(r"[\W_]+", "", text.casefold())
