"""Labels: how they are written in sources, what they mean in the study, and the study's label set."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from slingshot.artifacts.labels import Label
from slingshot.config.base import LabelSystem, Level
from slingshot.core.errors import StudyError
from slingshot.data import foreign_codes, icd10
from slingshot.data.cells import SEVERAL
from slingshot.data.code_trees import CodeTree, tree_of

NO_LABEL = "no label"

NOT_IN_CODE_SET = "code not in the code set"

CODE_FORM = "code written with dots, spaces or small letters"

CATEGORY_TAKEN = "code not in the code set, its category taken"

MEMBER_SEPARATOR = ";"  # between the labels of a set, in the column `label`; `labels` has them as a list

_APART = re.compile(r"[;,|/&+\s]+")


def foreign(system: str) -> str:
    """The reason to drop a row whose code is of another system."""
    return f"code of another system: {system}"


@dataclass(frozen=True)
class Target:
    """What a row is to be answered with: the label, and where the row's own code stands in the tree."""

    label: str
    code: str
    category: str | None = None
    block: str | None = None
    chapter: str | None = None
    members: tuple[Target, ...] | None = None  # of a set, in the order of the source; None where a row has one label

    @property
    def single(self) -> tuple[Target, ...]:
        """The labels one by one."""
        return (self,) if self.members is None else self.members

    @property
    def key(self) -> str:
        """What a sample's id is made of: the order of a set does not count."""
        return self.label if self.members is None else "\0".join(sorted(each.label for each in self.members))


@lru_cache(maxsize=200_000)
def target_of(text: str, system: LabelSystem, level: Level) -> tuple[Target | None, str | None]:
    """What a label as written stands for and what its form was changed from; or None and the reason.

    A code that the code set no longer holds has no target; above the level of codes it has its category's, if that
    is still there and the code is written as the system writes codes.
    """
    tree = tree_of(system)
    if tree is None:
        return Target(label=text, code=text), None
    code = tree.normalize(text)
    found, change = tree.find(code), CODE_FORM if code != text else None
    if found is not None and _has_form(text, system):
        return Target(found.at(level), code, found.category, found.block, found.chapter), change
    if (only := _one_of_several(text, tree)) is not None:
        return target_of(only, system, level) if only else (None, SEVERAL)
    written = "".join(text.split()).upper()
    if system == "icd10cm":
        if (other := foreign_codes.system_of(written)) or not foreign_codes.has_form(written):
            return None, foreign(other) if other else NOT_IN_CODE_SET
        found = icd10.find(code[: icd10.CATEGORY_LENGTH])
        if found is not None and level != "code":
            return Target(found.at(level), code, found.category, found.block, found.chapter), CATEGORY_TAKEN
    return None, NOT_IN_CODE_SET


def code_test(system: LabelSystem) -> Callable[[str], bool] | None:
    """Whether a cell can only be a label: a code of the tree, written with a digit. Plain labels may be any words."""
    tree = tree_of(system)
    if tree is None:
        return None
    return lambda cell: any(map(str.isdigit, cell)) and tree.is_valid(tree.normalize(cell))


def target_of_set(values: Sequence[str], system: LabelSystem, level: Level) -> tuple[Target, list[str], list[str]]:
    """The set that labels as written stand for, each once, in their order.

    Returns:
        the set; what was changed; the reasons why labels were left out
    """
    members: dict[str, Target] = {}
    changes: list[str] = []
    left_out: list[str] = []
    for value in values:
        found, note = target_of(value, system, level)
        if found is None:
            left_out.append(note or NOT_IN_CODE_SET)
            continue
        members.setdefault(found.label, found)
        changes += [note] if note else []
    name = MEMBER_SEPARATOR.join(members)
    return Target(label=name, code=name, members=tuple(members.values())), list(dict.fromkeys(changes)), left_out


def _has_form(text: str, system: LabelSystem) -> bool:
    """Whether a code's dot, if it has one, stands where ICD-10-CM has it: `E849.0` is of ICD-9-CM."""
    return system != "icd10cm" or foreign_codes.has_form("".join(text.split()).upper())


def _one_of_several(text: str, tree: CodeTree) -> str | None:
    """The code that a cell repeats, "" where it holds several different ones, None where it is one or no list."""
    parts = [part for part in _APART.split(text) if part]
    codes = {tree.normalize(part) for part in parts}
    if len(parts) < 2 or not all(tree.is_valid(code) or _may_be_code(code) for code in codes):
        return None
    return parts[0] if len(codes) == 1 else ""


def _may_be_code(code: str) -> bool:
    return len(code) >= icd10.CATEGORY_LENGTH and (foreign_codes.has_form(code) or bool(foreign_codes.system_of(code)))


def refuse_confusable(names: Iterable[str]) -> None:
    """Refuse plain labels that no reader of answers could tell apart.

    Raises:
        StudyError: names two labels that differ only by case, Unicode form or blanks.
    """
    seen: dict[str, str] = {}
    for name in names:
        form = "".join(unicodedata.normalize("NFKC", name).casefold().split())
        if form in seen:
            raise StudyError(
                f"data: the labels {seen[form]!r} and {name!r} differ only by case, form or blanks: write them alike "
                "in the source, or so that they can be told apart"
            )
        seen[form] = name


def label_of(target: Target, system: LabelSystem, level: Level, description: str | None, train_samples: int) -> Label:
    """A target's label as labels.json holds it; the code set describes what the data does not."""
    tree = tree_of(system)
    if tree is None:
        return Label(label=target.label, description=description, train_samples=train_samples)
    found = tree.find(target.label) if level in ("code", "category") else None
    return Label(
        label=target.label,
        description=description if description and level == "code" else tree.describe(target.label, level) or None,
        category=target.category if level in ("code", "category") else None,
        block=target.block if level != "chapter" else None,
        chapter=target.chapter,
        billable=found.billable if found else None,
        train_samples=train_samples,
    )
