"""Reading a label out of what a model said, by rules in a fixed order (docs/prompting.md).

1. What stands after the thinking.
2. The whole answer is a label, in whatever case and punctuation.
3. JSON: the value of a key that names the answer.
4. What stands after an answer mark: boxed or "final answer", then `answer:`, `code:` and their like, then bold.
5. A first line, or the first entry of a numbered list, that is a label by itself.
6. The last label in the running text that is not denied. Plain labels and descriptions: if only one is named.

A set of labels (`read_set`) is read by rules of its own:

1. What stands after the thinking. "none", "no codes" or an empty list is the empty set.
2. JSON: all values of the last list, or of the key that names the answer.
3. From the last "final answer" on, else from the first answer mark on, else all of it; line by line without bullets and
   numbers: the line is a label, or a list of nothing but labels (commas, semicolons, bars, "and"), or it names codes.
   Plain labels and descriptions inside a sentence count where no line gave a label otherwise.
4. Each label once, in the order of the answer; none that is denied.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any

from slingshot.config.base import LabelSystem, Level
from slingshot.data.code_trees import tree_of
from slingshot.prompting.denials import Mention, undenied
from slingshot.prompting.mentions import CodeFinder, NameFinder, Words, block_mentions, plain_form, words_of
from slingshot.prompting.right_answers import NOTHING
from slingshot.prompting.thinking import split_thinking

_AROUND = " \t\r\n.,;:!?\"'`*_~()[]{}<>#|-\\$"

_BOXED = re.compile(r"\\?boxed\s*\{+\s*(?:\\text\s*\{)?([^{}]*)\}")

_FINAL = re.compile(
    r"\b(?:final|correct|best)\s+(?:answer|code|label|diagnosis)\b[\"'*_`\s]*(?::|=|\bis\b|->)", re.IGNORECASE
)

_MARK = re.compile(
    r"(?<!alternative )(?<!secondary )(?<!other )(?<!differential )(?<!second )(?<!wrong )"
    r"\b(?:answer|icd[- ]?10(?:[- ]cm)?(?:[- ]codes?)?|codes?|label|diagnosis|diagnoses|category|class|"
    r"prediction|respuesta|c\u00f3digo|diagn\u00f3stico|antwort|diagnose|kode|r\u00e9ponse|diagnostic|risposta|codice)"
    r"\b[\"'*_`\s]*(?:\([^)\n]*\)[\"'*_`\s]*)?(?::|=|->|\bis\b|\bes\b|\bist\b|\best\b)",
    re.IGNORECASE,
)

_BOLD = re.compile(r"\*\*([^*\n]+)\*\*|__([^_\n]+)__")

_FIRST_ENTRY = re.compile(r"^\s*(?:1[.)]|\(1\))\s+(.+)$", re.MULTILINE)

_KEYS = (
    *("final_answer", "answer", "code", "icd10cm", "icd10_code", "icd10", "icd_10_code", "icd_code", "label"),
    *("diagnosis", "main_diagnosis", "primary_diagnosis", "category", "prediction", "result", "codes", "labels"),
)

_BULLET = re.compile(r"^\s*(?:[-*+\u2022\u00b7]|\(?[0-9]{1,3}[.)])\s+")

_APART = re.compile(r"\s*[,;|/&]\s*|\s+(?:and|y|und|et)\s+", re.IGNORECASE)

_NOTHING = re.compile(
    rf"(?:{NOTHING}|n/?a|nil|(?:there\s+(?:is|are)\s+)?(?:no|none\s+of\s+the)\s+(?:[\w-]+\s+){{0,3}}?"
    r"(?:codes?|labels?|diagnos[ei]s)(?:\s+(?:appl(?:y|ies)|applicable|found|assigned|present|fits?))?|"
    r"ning\u00fan\s+c\u00f3digo|keine?)",
    re.IGNORECASE,
)

_JSON = re.compile(r"[{\[]\s*[\"{\[]")

_CHAPTER = re.compile(r"\bchapter\W{0,4}([0-9]{1,2})\b", re.IGNORECASE)

_NUMBER = re.compile(r"(?<![0-9.])[0-9]{1,2}(?![0-9])")


class AnswerReader:
    """Reads answers that name labels of one study."""

    def __init__(
        self, labels: Collection[str] | Mapping[str, str | None], system: LabelSystem, level: Level = "code"
    ) -> None:
        """Args: labels: the study's; a mapping to their descriptions lets an answer name them by these, too."""
        self._labels: Mapping[str, str | None] = labels if isinstance(labels, Mapping) else dict.fromkeys(labels)
        self._system = system
        self._level = level

    def read(self, raw: str) -> str | None:
        """The label that an answer gives, or None."""
        text = plain_form(split_thinking(raw).answer).strip()
        if not text:
            return None
        return (
            self._whole(text)
            or self._from_json(text)
            or self._marked(text)
            or self._by_itself(text)
            or self._running(text)
        )

    def read_set(self, raw: str) -> list[str] | None:
        """The labels that an answer gives, each once, in its order; [] for an empty set, None for no answer."""
        text = plain_form(split_thinking(raw).answer).strip()
        if not text:
            return None
        if _says_nothing(text):
            return []
        for value in _json_values(text):
            entries = list(_answers_in(value))
            labels = [label for entry in entries for label in self._listed(entry)]
            if labels or (not entries and _is_empty_list(value)):
                return list(dict.fromkeys(labels))
        section = _section(text)
        return self._listed(section) or ([] if _says_nothing(section) else None)

    def _listed(self, text: str) -> list[str]:
        """The labels of a list: a line, or a part of one, each."""
        mentions = [mention for start, line in _lines_of(text) for mention in self._of_line(line, start)]
        return list(dict.fromkeys(each.label for each in undenied(text, mentions or self._named(text))))

    def _of_line(self, line: str, start: int) -> list[Mention]:
        if label := self._exact(line):
            return [Mention(label, start, start + len(line))]
        parts = [part for part in _parts_of(line) if part[1]]
        labels = [self._exact(part) for _, part in parts]
        if all(labels) and len(parts) > 1:
            return [
                Mention(label, start + at, start + at + len(part))
                for (at, part), label in zip(parts, labels, strict=True)
                if label
            ]
        found = [Mention(each.label, start + each.start, start + each.end) for each in self._mentions(line)]
        opening = line.lstrip(_AROUND).split(maxsplit=1)
        if not found and self._codes is not None and opening and (code := self._codes.code(opening[0].strip(_AROUND))):
            return [Mention(self._at_level(code), start, start + len(opening[0]))]  # in whatever case
        if self._codes is None and (label := self._opening(line + "\n")):
            return [Mention(label, start, start + len(label))]
        return found

    def mentioned(self, raw: str) -> list[str]:
        """Every label that an answer names and does not deny, once each, in the order of their first mention."""
        text = plain_form(split_thinking(raw).answer)
        mentions = self._mentions(text) or self._named(text)
        return list(dict.fromkeys(mention.label for mention in undenied(text, mentions)))

    # ------------------------------------------------------------------ the rules, in their order

    def _exact(self, text: str) -> str | None:
        """As `_whole`, but a label that breaks off is not completed: the token limit can only cut an answer's end."""
        if self._codes is not None or text in self._labels:
            return self._whole(text)
        words = words_of(text.strip(_AROUND))
        return self._names.label_of.get(words) or self._descriptions.label_of.get(words)

    def _whole(self, text: str) -> str | None:
        """A text that is a label and nothing else but punctuation."""
        if text in self._labels:
            return text
        bare = text.strip(_AROUND)
        if self._codes is not None:
            code = self._codes.code(bare)
            if code is not None:
                return self._at_level(code)
            if bare.upper() in self._labels:
                return bare.upper()
            block = re.sub(r"\s*-\s*", "-", bare).upper()
            if block in self._labels:
                return block
            return self._descriptions.label_of.get(words_of(bare))
        return self._plain_whole(bare)

    def _plain_whole(self, bare: str) -> str | None:
        words = words_of(bare)
        named = self._names.label_of.get(words) or self._descriptions.label_of.get(words)
        if named or not words:
            return named
        begun = {label for name, label in self._names.label_of.items() if name[: len(words)] == words}
        return next(iter(begun)) if len(begun) == 1 else self._begun_inside_a_word(words)

    def _begun_inside_a_word(self, words: Words) -> str | None:
        """A label cut by the limit of tokens, in the middle of a word."""
        beginning = " ".join(words)
        begun = {label for name, label in self._names.label_of.items() if " ".join(name).startswith(beginning)}
        return next(iter(begun)) if len(begun) == 1 and len(beginning) >= 3 else None

    def _from_json(self, text: str) -> str | None:
        for value in _json_values(text):
            if label := next((found for part in _answers_in(value) if (found := self._in_part(part))), None):
                return label
        return None

    def _marked(self, text: str) -> str | None:
        boxed = [(match.start(), match[1]) for match in _BOXED.finditer(text)]
        final = [(match.start(), _after(text, match.end())) for match in _FINAL.finditer(text)]
        marked = [(match.start(), _after(text, match.end())) for match in _MARK.finditer(text)]
        bold = [(match.start(), match[1] or match[2]) for match in _BOLD.finditer(text)]
        for marks in (sorted(boxed + final), marked):
            for _, content in reversed(marks):
                if label := self._in_part(content):
                    return label
        for start, content in reversed(bold):
            label = self._in_part(content)
            if label and undenied(text, [Mention(label, start, start + len(content) + 4)]):
                return label
        return None

    def _by_itself(self, text: str) -> str | None:
        first, *rest = text.split("\n", 1)
        if rest and (label := self._whole(first)):
            return label
        if self._codes is None and (label := self._opening(text)):
            return label
        entry = _FIRST_ENTRY.search(text)
        return self._in_part(entry[1]) if entry else None

    def _opening(self, text: str) -> str | None:
        """The plain label that a text begins with, where punctuation or a line's end closes it."""
        bare = text.lstrip(_AROUND)
        first = next(iter(self._names.mentions(bare)), None)
        closed = first and re.match(r"[\"'*_`)\s]*(?:[:(.\n]|-\s)", bare[first.end :])
        return first.label if first and first.start == 0 and closed and undenied(bare, [first]) else None

    def _running(self, text: str) -> str | None:
        if self._level == "chapter" and (match := _CHAPTER.search(text)) and match[1] in self._labels:
            return match[1]
        if left := undenied(text, self._mentions(text)):
            return left[-1].label
        if self._level == "chapter" and self._codes is not None:
            number = next((match.group() for match in _NUMBER.finditer(text) if match.group() in self._labels), None)
            if number:
                return number
        named = {mention.label for mention in undenied(text, self._named(text))}
        return next(iter(named)) if len(named) == 1 else None

    # ------------------------------------------------------------------ what they share

    def _in_part(self, part: str) -> str | None:
        """The label that a marked part of an answer gives: the part itself, or the first one in it."""
        if label := self._whole(part):
            return label
        opening = part.lstrip(_AROUND).split(maxsplit=1)
        if self._codes is not None and opening and (code := self._codes.code(opening[0].strip(_AROUND))):
            return self._at_level(code)  # in whatever case
        left = undenied(part, self._mentions(part))
        if left:
            return left[0].label
        if self._codes is None and (label := self._opening(part + "\n")):
            return label
        if self._level == "chapter" and (match := _NUMBER.search(part)) and match.group() in self._labels:
            return match.group()
        named = {mention.label for mention in undenied(part, self._named(part))}
        return next(iter(named)) if len(named) == 1 else None

    def _mentions(self, text: str) -> list[Mention]:
        """Codes, at the study's level, in their order; none for plain labels."""
        if self._codes is None:
            return []
        blocks = list(block_mentions(text, self._labels)) if self._level == "block" else []
        if blocks:
            return blocks
        return [Mention(self._at_level(each.label), each.start, each.end) for each in self._codes.mentions(text)]

    def _named(self, text: str) -> list[Mention]:
        """Plain labels; where none is named, labels by their descriptions."""
        return (self._names.mentions(text) if self._codes is None else []) or self._descriptions.mentions(text)

    def _at_level(self, code: str) -> str:
        if self._level == "code" or code in self._labels:
            return code
        tree = tree_of(self._system)
        entry = tree.find(code) if tree else None
        return entry.at(self._level) if entry else code

    @cached_property
    def _codes(self) -> CodeFinder | None:
        tree = tree_of(self._system)
        return CodeFinder(tree, self._labels, self._system == "icd10cm") if tree else None

    @cached_property
    def _names(self) -> NameFinder:
        return NameFinder([(label, label) for label in self._labels])

    @cached_property
    def _descriptions(self) -> NameFinder:
        return NameFinder([(description, label) for label, description in self._labels.items() if description])


def read_answer(
    raw: str, labels: Collection[str] | Mapping[str, str | None], system: LabelSystem, level: Level = "code"
) -> str | None:
    """`AnswerReader.read` for a single answer; for many, make one reader."""
    return AnswerReader(labels, system, level).read(raw)


def _after(text: str, at: int) -> str:
    """The rest of the line, or the next line where nothing is left."""
    lines = [line for line in text[at:].split("\n", 3)[:3] if line.strip(_AROUND)]
    return lines[0] if lines else ""


def _says_nothing(text: str) -> bool:
    return bool(_NOTHING.fullmatch(text.strip(_AROUND))) or text.strip() in ("[]", "{}")


def _is_empty_list(value: Any) -> bool:
    """Whether a JSON value is an empty list, or holds one under a key that names the answer."""
    if isinstance(value, dict):
        return any(each == [] for each in value.values())
    return bool(value == [])


def _section(text: str) -> str:
    """Where a set is answered: what follows the last mark of a final answer, else the first mark of an answer."""
    if finals := list(_FINAL.finditer(text)):
        return text[finals[-1].end() :]
    first = _MARK.search(text)
    return text[first.end() :] if first and text[first.end() :].strip(_AROUND) else text


def _lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Each line with its place, without its bullet or number."""
    at = 0
    for line in text.split("\n"):
        bullet = _BULLET.match(line)
        skipped = bullet.end() if bullet else 0
        if line[skipped:].strip():
            yield at + skipped, line[skipped:]
        at += len(line) + 1


def _parts_of(line: str) -> Iterator[tuple[int, str]]:
    """The parts of a line that commas and their like set apart, each with its place."""
    at = 0
    for match in _APART.finditer(line):
        yield at, line[at : match.start()].strip(_AROUND)
        at = match.end()
    yield at, line[at:].strip(_AROUND)


def _json_values(text: str) -> Iterator[Any]:
    """JSON objects and arrays in a text, the last one first; a text in quotes is one, too."""
    decoder = json.JSONDecoder()
    found, at = [], 0
    while (match := _JSON.search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, match.start())
            found.append(value)
        except ValueError:
            at = match.start() + 1
    yield from reversed(found)


def _answers_in(value: Any) -> Iterator[str]:
    """The texts in a JSON value that may be the answer, the likeliest first."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _answers_in(each)
    elif isinstance(value, dict):
        by_key = {re.sub(r"[\s-]+", "_", str(key)).strip("_").lower(): each for key, each in value.items()}
        keys = [key for key in _KEYS if key in by_key]
        for key in keys:
            yield from _answers_in(by_key[key])
        if not keys and len(by_key) == 1:
            yield from _answers_in(next(iter(by_key.values())))
