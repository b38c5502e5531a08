"""Where a text names labels: codes by their form, plain labels and descriptions as whole word sequences."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping

from slingshot.data.code_trees import CodeTree
from slingshot.prompting.denials import Mention

_CATEGORY = r"[A-Za-z](?:[0-9][0-9A-Za-z]|[A-Za-z][0-9])"  # QA0 is one, too

_ICD = re.compile(rf"(?<![A-Za-z0-9]){_CATEGORY}(?:\.?[0-9A-Za-z]{{1,4}})?(?![A-Za-z0-9])")

_ANY_CODE = re.compile(r"(?<![A-Za-z0-9.])[A-Za-z0-9]+(?:[./+-][A-Za-z0-9]+)*(?![A-Za-z0-9])")

_BLOCK = re.compile(rf"(?<![A-Za-z0-9]){_CATEGORY}\s*-\s*{_CATEGORY}(?![A-Za-z0-9])")

_WORD = re.compile(r"\w+")

_FORMS = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b\u02bc\u2032\u00b4", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u2033", '"'),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f"),
    }
)

_LONG_BLANK = re.compile(r"\s{9,}")

Words = tuple[str, ...]


def plain_form(text: str) -> str:
    """One way to write what typography and Unicode write in several: dashes, quotes, blanks, composed letters.

    Long blanks are cut to one: a pattern that is tried again at each of their characters would take hours.
    """
    text = _LONG_BLANK.sub(lambda blank: "\n\n" if "\n" in blank[0] else " ", text)
    composed = text if text.isascii() else unicodedata.normalize("NFKC", text.translate(_FORMS)).translate(_FORMS)
    return re.sub(r"\\([.\-_*`()\[\]#!+])", r"\1", composed)  # Markdown's escapes


def words_of(text: str) -> Words:
    return tuple(word.casefold() for word in _WORD.findall(text))


class CodeFinder:
    """Codes of a tree, by their form."""

    def __init__(self, tree: CodeTree, labels: Mapping[str, str | None], is_icd10cm: bool) -> None:
        self._tree = tree
        self._labels = labels
        self._form = _ICD if is_icd10cm else _ANY_CODE

    def code(self, text: str) -> str | None:
        """The code that a text is as a whole, in whatever case, with or without its dot."""
        if not self._form.fullmatch(text):
            return None
        code = self._tree.normalize(text)
        return code if code in self._labels or self._tree.is_valid(code) else None

    def mentions(self, text: str) -> Iterator[Mention]:
        """Codes in running text. One without a dot counts only in capitals, a number without a dot never."""
        for match in self._form.finditer(text):
            written = match.group()
            if "." not in written and (written != written.upper() or written.isdigit()):
                continue
            if code := self.code(written):
                yield Mention(code, match.start(), match.end())


class NameFinder:
    """Names of labels (the labels themselves, or their descriptions) as whole word sequences.

    A name that two labels share names neither. A name of one short word in capitals (`CC`) counts only in capitals.
    """

    def __init__(self, names: Collection[tuple[str, str]]) -> None:
        """Args: names: each name with its label."""
        by_words: dict[Words, set[str]] = {}
        for name, label in names:
            by_words.setdefault(words_of(plain_form(name)), set()).add(label)
        by_words.pop((), None)
        self.label_of = {words: next(iter(labels)) for words, labels in by_words.items() if len(labels) == 1}
        self._in_capitals = {
            words_of(name) for name, _ in names if name.isupper() and len(name) <= 5 and len(words_of(name)) == 1
        }
        self._lengths: dict[str, list[int]] = {}  # first word to the lengths of names that begin so, longest first
        for words in sorted(self.label_of, key=len, reverse=True):
            lengths = self._lengths.setdefault(words[0], [])
            if len(words) not in lengths:
                lengths.append(len(words))

    def mentions(self, text: str) -> list[Mention]:
        """The longest name at each place; names inside of others do not count."""
        found = list(_WORD.finditer(text))
        words = [match.group().casefold() for match in found]
        mentions, at = [], 0
        while at < len(words):
            length = next((n for n in self._lengths.get(words[at], ()) if self._counts(found, words, at, n)), 0)
            if length:
                label = self.label_of[tuple(words[at : at + length])]
                mentions.append(Mention(label, found[at].start(), found[at + length - 1].end()))
            at += length or 1
        return mentions

    def _counts(self, found: list[re.Match[str]], words: list[str], at: int, length: int) -> bool:
        named = tuple(words[at : at + length])
        return named in self.label_of and (named not in self._in_capitals or found[at].group().isupper())


def block_mentions(text: str, labels: Mapping[str, str | None]) -> Iterator[Mention]:
    """Ranges of categories (`A00-A09`) that are labels."""
    for match in _BLOCK.finditer(text):
        block = re.sub(r"\s*-\s*", "-", match.group()).upper()
        if block in labels:
            yield Mention(block, match.start(), match.end())
