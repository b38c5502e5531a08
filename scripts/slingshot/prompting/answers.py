"""Reading a label out of what a model said."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from slingshot.config.base import LabelSystem, Level, TreeLabels
from slingshot.data import icd10
from slingshot.data.code_trees import tree_of

_CATEGORY = r"[A-Za-z](?:[0-9][0-9A-Za-z]|[A-Za-z][0-9])"  # QA0 is one, too

_CODE = re.compile(rf"(?<![A-Za-z0-9]){_CATEGORY}(?:\.?[0-9A-Za-z]{{1,4}})?(?![A-Za-z0-9])")

_BLOCK = re.compile(rf"(?<![A-Za-z0-9]){_CATEGORY}\s*[-\N{{EN DASH}}]\s*{_CATEGORY}(?![A-Za-z0-9])")

_RUN = re.compile(r"[^\W_][\w.\-+/]*", re.ASCII)  # of signs that codes are made of

_NUMBER = re.compile(r"(?<![0-9.])[0-9]{1,2}(?![0-9])")


def read_answer(raw: str, labels: Collection[str], system: LabelSystem, level: Level = "code") -> str | None:
    """The label that an answer gives, or None.

    ICD-10-CM: the first valid code in the text, whatever its dots and case; valid is what the code set or the study
    knows. Above code level, a label of that level counts first, then the ancestor of the first valid code. Plain: the
    whole answer after normalization, else the one label that it begins with or that begins with it.
    """
    if system == "plain":
        return _plain(raw, labels)
    if level == "block" and system == "icd10cm":
        named = (re.sub(r"\s*[-\N{EN DASH}]\s*", "-", match.group()).upper() for match in _BLOCK.finditer(raw))
        found = next((block for block in named if block in labels), None)
        if found:
            return found
    if isinstance(system, TreeLabels):
        return _of_tree(raw, labels, system, level)
    code = next(_valid_codes(raw, labels), None)
    if level == "code" or code is None:
        return code or (_chapter(raw, labels) if level == "chapter" else None)
    entry = icd10.find(code)
    return entry.at(level) if entry else code


def _of_tree(raw: str, labels: Collection[str], system: TreeLabels, level: Level) -> str | None:
    """The first run of signs that is a label of the study or a code of its tree, whatever its dots and case.

    Above code level a label of that level counts first, then the ancestor of the first code.
    """
    tree = tree_of(system)
    assert tree is not None
    said = [tree.normalize(match.group().rstrip(".")) for match in _RUN.finditer(raw)]
    if level != "code" and (found := next((label for label in said if label in labels), None)):
        return found
    code = next((code for code in said if code in labels or tree.is_valid(code)), None)
    entry = tree.find(code) if code else None
    return entry.at(level) if entry else code


def _valid_codes(raw: str, labels: Collection[str]) -> Iterator[str]:
    for match in _CODE.finditer(raw):
        code = icd10.normalize(match.group())
        if code in labels or icd10.is_valid(code):
            yield code


def _chapter(raw: str, labels: Collection[str]) -> str | None:
    return next((match.group() for match in _NUMBER.finditer(raw) if match.group() in labels), None)


def _plain(raw: str, labels: Collection[str]) -> str | None:
    said = _normalized(raw)
    if not said:
        return None
    by_name = {_normalized(label): label for label in labels}
    if said in by_name:
        return by_name[said]
    opened = [name for name in by_name if said.startswith(f"{name} ")]
    if opened:
        return by_name[max(opened, key=len)]
    begun = [name for name in by_name if name.startswith(said)]
    return by_name[begun[0]] if len(begun) == 1 else None


def _normalized(text: str) -> str:
    """Lower case, one blank between words, no punctuation around them."""
    return " ".join(word for part in text.casefold().split() if (word := part.strip(".,;:!?\"'`*()[]")))
