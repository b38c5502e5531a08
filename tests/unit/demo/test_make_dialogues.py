"""The demo's dialogues: the committed file is what the program writes, and what it claims about them holds."""

from __future__ import annotations

import csv
import io
import random
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import simple_icd_10_cm as icd10cm

DEMO = Path(__file__).parents[3] / "studies" / "demo"
sys.path.insert(0, str(DEMO))

import make_dialogues  # noqa: E402


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with (DEMO / "data" / "dialogues.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture(scope="module")
def conditions() -> dict[str, make_dialogues.Condition]:
    return make_dialogues.read_conditions(DEMO / "conditions.yaml")


def test_the_program_reproduces_the_committed_bytes(tmp_path: Path) -> None:
    output = tmp_path / "new" / "dialogues.csv"
    subprocess.run([sys.executable, str(DEMO / "make_dialogues.py"), "--output", str(output)], check=True, timeout=60)
    assert output.read_bytes() == (DEMO / "data" / "dialogues.csv").read_bytes()
    assert output.stat().st_size < 1_000_000


def test_the_demos_file_is_that_of_the_first_codes() -> None:
    short = make_dialogues.dialogues_csv(seed=42, dialogues_per_code=25, codes=12, as_printed=True)
    assert (DEMO / "data" / "twelve_codes.csv").read_text(encoding="utf-8") == short
    described = {row["ICD10"]: row["ICD10_desc"] for row in csv.DictReader(io.StringIO(short))}
    assert described == {code: icd10cm.get_description(code) for code in described}
    assert len(described) == 12


def test_another_seed_gives_other_dialogues_and_more_keep_the_first_ones() -> None:
    few, more = (
        list(csv.DictReader(io.StringIO(make_dialogues.dialogues_csv(seed=1, dialogues_per_code=number))))
        for number in (2, 7)
    )
    assert [row for row in more if row in few] == few
    other = list(csv.DictReader(io.StringIO(make_dialogues.dialogues_csv(seed=2, dialogues_per_code=2))))
    assert not {row["Dialogue"] for row in few} & {row["Dialogue"] for row in other}


def test_a_number_below_one_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO / "make_dialogues.py"), "--output", str(tmp_path / "x.csv")]
    result = subprocess.run([*command, "--dialogues-per-code", "0"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "--dialogues-per-code must be at least 1, not 0" in result.stderr
    assert not list(tmp_path.iterdir())


def test_codes_are_billable_and_described_as_the_code_set_does(rows: list[dict[str, str]]) -> None:
    described = {row["ICD10"]: row["ICD10_desc"] for row in rows}
    assert len(described) >= 40
    chapters = set()
    for code, description in described.items():
        assert icd10cm.is_leaf(code), code
        assert icd10cm.get_description(code).upper() == description
        chapters.add(icd10cm.get_ancestors(code)[-1])
    assert len(chapters) >= 8
    assert set(Counter(row["ICD10"] for row in rows).values()) == {24}


def test_dialogues_are_distinct_turns_of_both_speakers(rows: list[dict[str, str]]) -> None:
    assert len({row["Dialogue"] for row in rows}) == len(rows) == 1008
    for row in rows:
        lines = row["Dialogue"].splitlines()
        speakers = [line.split(maxsplit=1)[0] for line in lines]
        assert speakers == ["[doctor]", "[patient]"] * (len(lines) // 2) + ["[doctor]"] * (len(lines) % 2)
        assert "{" not in row["Dialogue"] + row["Note"]


def test_no_dialogue_says_what_its_condition_is_called(
    rows: list[dict[str, str]], conditions: dict[str, make_dialogues.Condition]
) -> None:
    for row in rows:
        dialogue = row["Dialogue"].lower()
        for name in [row["ICD10_desc"], *conditions[row["ICD10"]].names]:
            assert name.lower() not in dialogue, (name, dialogue)


def test_key_wordings_belong_to_one_condition(conditions: dict[str, make_dialogues.Condition]) -> None:
    owners = defaultdict(set)
    for condition in conditions.values():
        for phrase in [phrase for cue in condition.key for phrase in cue]:
            owners[phrase].add(condition.code)
    assert {phrase: codes for phrase, codes in owners.items() if len(codes) > 1} == {}


def test_a_rare_wording_stands_in_one_group_alone(
    rows: list[dict[str, str]], conditions: dict[str, make_dialogues.Condition]
) -> None:
    assert {row["Wording"] for row in rows} == {"common", "rare"}
    for condition in conditions.values():
        for number, cue in enumerate(condition.key):
            rare = make_dialogues.Finding(cue[-1], present=True)
            sayings = {make_dialogues.said_by(person, rare) for person in make_dialogues.PERSONS}
            using = [row for row in rows if any(saying in row["Dialogue"] for saying in sayings)]
            assert {row["Group"] for row in using} == {f"{condition.code[:4]} rare {number}"}
            assert {row["ICD10"] for row in using} == {condition.code}


def test_neighbours_findings_are_mentioned_only_as_something_the_patient_has_not(
    conditions: dict[str, make_dialogues.Condition],
) -> None:
    gout = conditions["M109"]
    for number in range(50):
        findings, dialogue = make_dialogues.dialogue_of(gout, conditions, rare=None, draw=random.Random(number))
        own = {phrase for cue in [*gout.key, *gout.shared] for phrase in cue}
        assert all((finding.phrase in own) == finding.present for finding in findings)
        assert sum(finding.present for finding in findings) == 3
        assert sum(not finding.present for finding in findings) in (1, 2)
        for finding in findings:
            people = make_dialogues.PERSONS
            assert any(make_dialogues.said_by(person, finding) in dialogue for person in people)
