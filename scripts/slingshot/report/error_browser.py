"""The test samples with every arm's answers, packed so that ten thousand of them fit a page.

The page gets base64 of gzipped JSON. Texts are cut in the middle only where the whole would pass the budget, and the
page says so.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slingshot.artifacts.predictions import SET_SEPARATOR, Prediction
from slingshot.artifacts.splits import LABELS

BUDGET = 4_200_000  # bytes of base64; with Plotly's 2 MB and the rest, a page of 20 arms stays below 8 MB

LONGEST_RAW = 160  # characters of an answer as generated

LONGEST_THOUGHT = 600  # characters of what a model thought before its answer

SHORTEST_TEXT = 80

CUT = " […] "


@dataclass(frozen=True)
class BrowserData:
    """What the page embeds, and how it was shortened: characters per text or answer, None where none was cut."""

    payload: str
    samples: int
    text_limit: int | None
    raw_limit: int | None
    thought_limit: int | None = None


def pack(
    samples: pd.DataFrame,
    predictions: Mapping[str, Sequence[Prediction]],
    chapters: Mapping[str, str],
    budget: int = BUDGET,
) -> BrowserData:
    """Pack the test split with the answers of all arms.

    Where samples have several labels, `labels` and `codes` hold lists instead of texts.

    Args:
        samples: the columns sample_id, text, label, description and chapter of test.parquet, and labels of sets
        predictions: each arm's answers
        chapters: titles of chapters
        budget: most bytes that the payload may take
    """
    raw_cut = any(len(one.raw.strip()) > LONGEST_RAW for answers in predictions.values() for one in answers)
    content = {
        "arms": list(predictions),
        "ids": _column(samples, "sample_id"),
        "labels": [list(map(str, each)) for each in samples[LABELS.name]]
        if LABELS.name in samples
        else _column(samples, "label"),
        "descriptions": _coded(_column(samples, "description")),
        "chapters": _coded(_column(samples, "chapter")),
        "titles": dict(chapters),
        "answers": _answers(_column(samples, "sample_id"), predictions),
    }
    texts = _column(samples, "text")
    limit = _limit(texts, budget - len(_compressed(content)))
    longest = max(map(len, texts), default=0)
    payload = _compressed(content | {"texts": [_cut(text, limit) for text in texts]})
    while len(payload) > budget and limit > SHORTEST_TEXT:
        limit = max(SHORTEST_TEXT, int(0.97 * min(limit, longest) * budget / len(payload)))
        payload = _compressed(content | {"texts": [_cut(text, limit) for text in texts]})
    thoughts = [len(one.thinking or "") for answers in predictions.values() for one in answers]
    return BrowserData(
        payload,
        len(texts),
        limit if limit < longest else None,
        LONGEST_RAW if raw_cut else None,
        LONGEST_THOUGHT if max(thoughts, default=0) > LONGEST_THOUGHT else None,
    )


def _column(samples: pd.DataFrame, name: str) -> list[str]:
    return ["" if pd.isna(value) else str(value) for value in samples[name]]


def _coded(values: Sequence[str]) -> dict[str, Any]:
    """Values that repeat, as a list of the distinct ones and an index per sample."""
    distinct = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return {"values": list(distinct), "index": [distinct[value] for value in values]}


def _answers(ids: Sequence[str], predictions: Mapping[str, Sequence[Prediction]]) -> dict[str, Any]:
    """Each arm's codes and raw answers, as indices into shared lists; -1 is no code, or a raw answer that says no more
    than the code, or a sample without an answer. Notes are indices likewise: see `_notes`."""
    several = any(one.labels is not None for answers in predictions.values() for one in answers[:1])
    codes: dict[str, int] = {}
    raws: dict[str, int] = {}
    notes: dict[str, int] = {}
    by_arm = []
    for answers in predictions.values():
        found = {answer.sample_id: answer for answer in answers}
        code_of, raw_of, note_of = [], [], []
        for sample in ids:
            answer = found.get(sample)
            code = answer.code if answer else None
            code_of.append(codes.setdefault(code, len(codes)) if code is not None else -1)
            raw = _shown_raw(answer.raw) if answer else ""
            raw_of.append(raws.setdefault(raw, len(raws)) if raw and raw != code else -1)
            note = json.dumps(_notes(answer)) if answer else "{}"
            note_of.append(notes.setdefault(note, len(notes)) if note != "{}" else -1)
        by_arm.append({"code": code_of, "raw": raw_of, "note": note_of})
    known = [list(code.split(SET_SEPARATOR)) if code else [] for code in codes] if several else list(codes)
    return {"codes": known, "raws": list(raws), "notes": [json.loads(note) for note in notes], "arms": by_arm}


def _notes(answer: Prediction) -> dict[str, str]:
    """What only some answers have: thinking, an end other than the model's own, a refusal, an error."""
    ended = answer.finish_reason if answer.finish_reason != "stop" else None
    found = {
        "thinking": _cut(answer.thinking, LONGEST_THOUGHT) if answer.thinking else None,
        "ended": ended,
        "refusal": answer.refusal,
        "error": answer.error,
    }
    return {name: text for name, text in found.items() if text}


def _shown_raw(raw: str) -> str:
    raw = raw.strip()
    return raw if len(raw) <= LONGEST_RAW else raw[: LONGEST_RAW - 1] + "…"


def _cut(text: str, limit: int) -> str:
    """The first two thirds and the end of a text that is too long."""
    if len(text) <= limit:
        return text
    head = 2 * (limit - len(CUT)) // 3
    return text[:head] + CUT + text[len(text) - (limit - len(CUT) - head) :]


def _limit(texts: Sequence[str], room: int) -> int:
    """The longest text that may stay whole, so that all fit, by how well a sample of them compresses."""
    some = texts[:: max(1, len(texts) // 500)]
    ratio = len(_compressed(some)) / max(1, sum(map(len, some)))
    left = max(room, 0) / max(ratio, 1e-9)  # characters
    lengths = sorted(map(len, texts))
    for index, length in enumerate(lengths):
        waiting = len(lengths) - index
        if length * waiting > left:
            return max(SHORTEST_TEXT, int(left / waiting))
        left -= length
    return max(lengths, default=SHORTEST_TEXT)


def _compressed(content: Any) -> str:
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(packed, 6, mtime=0)).decode()
