"""Write the demo study's synthetic doctor-patient dialogues, in MedSynth's columns.

Each dialogue is made from one condition of conditions.yaml: a few of its findings, said or affirmed by the
patient, and one or two findings of a neighbouring condition that the patient denies, had long ago, or reports of a
relative. Which words occur says little; what is meant of them says which condition it is.

    python make_dialogues.py --output data/dialogues.csv

The same arguments give the same bytes, on every Python version: only random.random() is drawn from, which Python
promises to keep. A larger --dialogues-per-code keeps the dialogues of a smaller one.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

FOLDER = Path(__file__).parent
COLUMNS = ("Note", "Dialogue", "ICD10", "ICD10_desc", "Wording", "Group")
WORDS = (67, 94)  # of a dialogue with its turn marks: about 90 to 160 tokens
RARE_EVERY = 4  # every N-th dialogue of a condition words one of its key findings in a rare way

T = TypeVar("T")
Cue = list[str]


@dataclass(frozen=True)
class Condition:
    code: str
    description: str
    names: list[str]
    course: str
    like: list[str]
    key: list[Cue]
    shared: list[Cue]
    also: list[str]
    side: str | None
    relatives: str | None


@dataclass(frozen=True)
class Finding:
    """A cue as one dialogue words it: a noun phrase with the person left open, and whether the patient has it now."""

    phrase: str
    present: bool
    relatives: str | None = None


PERSONS = {
    "I": {"i": "I", "my": "my", "me": "me", "s": "", "am": "am", "have": "have"},
    "you": {"i": "you", "my": "your", "me": "you", "s": "", "am": "are", "have": "have"},
    "she": {"i": "she", "my": "her", "me": "her", "s": "s", "am": "is", "have": "has"},
    "he": {"i": "he", "my": "his", "me": "him", "s": "s", "am": "is", "have": "has"},
    "they": {"i": "they", "my": "their", "me": "them", "s": "", "am": "are", "have": "have"},
}
RELATIVES = {
    "she": ["sister", "mother", "niece", "aunt", "daughter", "grandmother"],
    "he": ["brother", "father", "nephew", "uncle", "son", "grandfather"],
}
SINCE = {
    "acute": ["since Tuesday", "for three days", "since the weekend", "for two days now", "since last night"],
    "chronic": ["for months", "since last spring", "for half a year", "for several weeks", "on and off for a year"],
}
OPENERS = [
    "Good morning. What brings you in?",
    "Hello, take a seat. How can I help?",
    "Hi there, what can I do for you today?",
    "Come in. What seems to be the trouble?",
    "Nice to see you. What's been going on?",
    "Good afternoon. Tell me what's wrong.",
]
PROMPTS = ["Anything else?", "Go on.", "Tell me more.", "I see. What else?", "All right, and apart from that?", "Okay."]
COMPLAINTS = [
    "It's {finding} that brings me here.",
    "I've been dealing with {finding} {since}.",
    "Mostly it's {finding}, {since}.",
    "I've had {finding} {since}.",
    "Well, {since} it's been {finding}.",
    "What bothers me most is {finding}.",
]
ADDITIONS = [
    "And then there's {finding}.",
    "I've also noticed {finding}.",
    "On top of that, {finding}.",
    "There's {finding} as well.",
    "It comes with {finding}.",
]
QUESTIONS = [
    "Have you noticed {finding}?",
    "What about {finding}?",
    "Is there {finding}?",
    "Would you say you have {finding}?",
    "And {finding}?",
]
AFFIRMED = [
    "Yes, exactly that.",
    "Yes, {since}.",
    "Oh yes, very much so.",
    "Now that you say it, yes.",
    "I'm afraid so.",
    "Yes, that started as well.",
]
DENIED = [
    "No, not at all.",
    "No, never.",
    "Thankfully not.",
    "No, nothing like that.",
    "Not that I've noticed.",
    "I'd have told you, but no.",
]
ABSENT = [
    "I haven't had {finding}, mind you.",
    "It isn't {finding}, in case you wonder.",
    "I can't say I've had {finding}.",
    "What I don't have is {finding}.",
]
PAST = [
    "Years ago I had {finding}, but that is long gone.",
    "As a student I went through {finding}; not any more.",
    "I remember {finding} from a decade ago, but it never came back.",
    "My old records mention {finding}, which was cured back then.",
]
RELATIVE = [
    "My {relative} has {finding}, but I don't.",
    "It's my {relative} who has {finding}, not me.",
    "At home my {relative} complains of {finding}; I'm spared that.",
    "My {relative} came to you with {finding}, so I wondered, but I have none of it.",
]
RULED_OUT = [
    "My {relative} had {name}, but this is different.",
    "A friend guessed {name}, but I was tested and it isn't that.",
    "Online I read about {name}; it doesn't fit me.",
    "My {relative} swears it's {name}, but that was ruled out last year.",
]
CLOSERS = [
    "Thank you. Let me have a look at you.",
    "All right, I'll examine you now.",
    "Good, that helps. Let's do a few tests.",
    "I think I know what this is. Let me check.",
    "Okay, I'd like to examine you.",
]
GOODBYES = ["Thank you, doctor.", "All right.", "Sure.", "That would be a relief.", "Okay, thanks."]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--output", type=Path, required=True, metavar="FILE.csv")
    arguments.add_argument("--seed", type=int, default=42)
    arguments.add_argument("--dialogues-per-code", type=int, default=24)
    arguments.add_argument("--codes", type=int, help="only the first N of conditions.yaml")
    arguments.add_argument("--as-printed", action="store_true", help="descriptions as ICD-10-CM prints them")
    given = arguments.parse_args()
    if given.dialogues_per_code < 1:
        arguments.error(f"--dialogues-per-code must be at least 1, not {given.dialogues_per_code}")
    if given.codes is not None and given.codes < 1:
        arguments.error(f"--codes must be at least 1, not {given.codes}")
    given.output.parent.mkdir(parents=True, exist_ok=True)
    text = dialogues_csv(given.seed, given.dialogues_per_code, given.codes, given.as_printed)
    given.output.write_text(text, encoding="utf-8", newline="")


def dialogues_csv(seed: int, dialogues_per_code: int, codes: int | None = None, as_printed: bool = False) -> str:
    """The whole file, one row per dialogue, lines ended by a bare newline.

    Args:
        as_printed: descriptions as ICD-10-CM prints them, not in capitals as in MedSynth
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(read_conditions(FOLDER / "conditions.yaml"), seed, dialogues_per_code, codes):
        description = row["ICD10_desc"]
        writer.writerow(row | {"ICD10_desc": description.capitalize() if as_printed else description})
    return out.getvalue()


def read_conditions(path: Path) -> dict[str, Condition]:
    """The conditions by code, each phrasing with its side filled in."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    shared = {name: phrasings(text) for name, text in raw["shared"].items()}
    return {entry["code"]: _condition(entry, shared) for entry in raw["conditions"]}


def _condition(entry: dict[str, Any], shared: dict[str, Cue]) -> Condition:
    side = entry.get("side")
    sides = {"{side}": side or "", "{other}": "left" if side == "right" else "right"}

    def sided(text: str) -> str:
        for mark, word in sides.items():
            text = text.replace(mark, word)
        return text

    return Condition(
        code=entry["code"],
        description=entry["description"],
        names=entry["names"],
        course=entry["course"],
        like=entry["like"],
        key=[phrasings(sided(text)) for text in entry["key"]],
        shared=[shared[name] for name in entry["shared"]],
        also=phrasings(sided(entry.get("also", ""))),
        side=side,
        relatives=entry.get("relatives"),
    )


def phrasings(text: str) -> Cue:
    return [part.strip() for part in text.split("|") if part.strip()]


def rows(
    conditions: dict[str, Condition], seed: int, dialogues_per_code: int, codes: int | None = None
) -> Iterator[dict[str, str]]:
    """One row per dialogue, condition by condition; `codes` keeps the first N, whose dialogues stay as they are.

    `Group` keeps a finding's rare wording in one split, so that one in the test split was never trained on (left and
    right of the same finding are one group, too); every other dialogue is a group of its own.
    """
    for condition in list(conditions.values())[:codes]:
        for number in range(1, dialogues_per_code + 1):
            rare = number // RARE_EVERY % len(condition.key) if number % RARE_EVERY == 0 else None
            draw = random.Random(f"{seed} {condition.code} {number}")
            findings, dialogue = dialogue_of(condition, conditions, rare, draw)
            yield {
                "Note": note_of(condition, findings),
                "Dialogue": dialogue,
                "ICD10": condition.code,
                "ICD10_desc": condition.description,
                "Wording": "common" if rare is None else "rare",
                "Group": f"{condition.code} {number}" if rare is None else f"{condition.code[:4]} rare {rare}",
            }


def dialogue_of(
    condition: Condition, conditions: dict[str, Condition], rare: int | None, draw: random.Random
) -> tuple[list[Finding], str]:
    """Findings and their dialogue, drawn again until its length fits and it does not name the condition."""
    while True:
        neighbour = conditions[pick(condition.like, draw)]
        own = findings_of(condition, rare, draw)
        misleading = misleading_findings(neighbour, draw)
        turns = [
            opening(condition, own[0], draw),
            *exchanges(condition, own[1:], misleading, neighbour, draw),
            closing(draw),
        ]
        dialogue = merged(turn for part in turns for turn in part)
        if WORDS[0] <= len(dialogue.split()) <= WORDS[1] and not names_condition(dialogue, condition):
            return own + misleading, dialogue


def findings_of(condition: Condition, rare: int | None, draw: random.Random) -> list[Finding]:
    """Two key findings of the condition and one that it shares with others, in any order.

    Args:
        rare: the key finding that is among them, in its rare wording; None: both in common wordings
    """
    key = shuffled(condition.key, draw)[:2]
    if rare is not None:
        key = [condition.key[rare], pick([cue for cue in condition.key if cue is not condition.key[rare]], draw)]
    phrases = [cue[-1] if cue is condition.key[rare or 0] and rare is not None else pick(cue[:-1], draw) for cue in key]
    return shuffled(
        [Finding(text, present=True) for text in [*phrases, pick(pick(condition.shared, draw), draw)]], draw
    )


def misleading_findings(neighbour: Condition, draw: random.Random) -> list[Finding]:
    """One or two key findings of a neighbour: what the patient has not."""
    cues = shuffled(neighbour.key, draw)[: 1 if draw.random() < 0.5 else 2]
    return [Finding(pick(cue[:-1], draw), present=False, relatives=neighbour.relatives) for cue in cues]


Turn = tuple[str, str]  # who speaks, what


def opening(condition: Condition, finding: Finding, draw: random.Random) -> list[Turn]:
    complaint = pick(COMPLAINTS, draw).format(finding=said_by("I", finding), since=since(condition, draw))
    return [("doctor", pick(OPENERS, draw)), ("patient", complaint)]


def exchanges(
    condition: Condition,
    own: Sequence[Finding],
    misleading: Sequence[Finding],
    neighbour: Condition,
    draw: random.Random,
) -> list[list[Turn]]:
    """The middle of the talk: every further finding, had or not, in any order."""
    parts = [exchange(condition, finding, draw) for finding in [*own, *misleading]]
    if condition.also:
        parts.append(volunteered(pick(condition.also, draw), draw))
    if draw.random() < 0.25:
        relative = pick(RELATIVES[pick(sorted(RELATIVES), draw)], draw)
        parts.append(volunteered(pick(RULED_OUT, draw).format(name=neighbour.names[0], relative=relative), draw))
    return shuffled(parts, draw)


def exchange(condition: Condition, finding: Finding, draw: random.Random) -> list[Turn]:
    """A finding that the doctor asks for, or that the patient brings up."""
    if draw.random() < 0.45:
        answer = pick(AFFIRMED if finding.present else DENIED, draw).format(since=since(condition, draw))
        return [("doctor", pick(QUESTIONS, draw).format(finding=said_by("you", finding))), ("patient", answer)]
    if finding.present:
        return volunteered(pick(ADDITIONS, draw).format(finding=said_by("I", finding)), draw)
    return volunteered(_explained_away(finding, draw), draw)


def _explained_away(finding: Finding, draw: random.Random) -> str:
    """A finding that is absent, past, or a relative's, in the patient's words."""
    way = pick(("absent", "past", "relative", "relative"), draw)
    if way == "relative":
        person = finding.relatives or pick(sorted(RELATIVES), draw)
        return pick(RELATIVE, draw).format(finding=said_by(person, finding), relative=pick(RELATIVES[person], draw))
    return pick(ABSENT if way == "absent" else PAST, draw).format(finding=said_by("I", finding))


def volunteered(sentence: str, draw: random.Random) -> list[Turn]:
    """The patient goes on talking, or answers the doctor's nudge."""
    return [("patient", sentence)] if draw.random() < 0.6 else [("doctor", pick(PROMPTS, draw)), ("patient", sentence)]


def closing(draw: random.Random) -> list[Turn]:
    turns = [("doctor", pick(CLOSERS, draw))]
    return [*turns, ("patient", pick(GOODBYES, draw))] if draw.random() < 0.6 else turns


def merged(turns: Iterator[Turn]) -> str:
    """Turns as text, one per line, neighbouring turns of one speaker joined."""
    lines: list[list[str]] = []
    speaker = ""
    for who, sentence in turns:
        if who == speaker:
            lines[-1].append(sentence)
        else:
            lines.append([f"[{who}]", sentence])
        speaker = who
    return "\n".join(" ".join(line) for line in lines)


def names_condition(dialogue: str, condition: Condition) -> bool:
    text = dialogue.lower()
    return any(name.lower() in text for name in [condition.description, *condition.names])


def note_of(condition: Condition, findings: Sequence[Finding]) -> str:
    """A short note, as MedSynth puts beside a dialogue. It names the diagnosis: never a model's input."""
    reported = "; ".join(said_by("they", finding) for finding in findings if finding.present)
    excluded = "; ".join(said_by("they", finding) for finding in findings if not finding.present)
    return f"SUBJECTIVE: Reports {reported}. No current {excluded}. ASSESSMENT: {condition.description}."


def said_by(person: str, finding: Finding) -> str:
    return finding.phrase.format(**PERSONS[person])


def since(condition: Condition, draw: random.Random) -> str:
    return pick(SINCE[condition.course], draw)


def pick(items: Sequence[T], draw: random.Random) -> T:
    return items[int(draw.random() * len(items))]


def shuffled(items: Sequence[T], draw: random.Random) -> list[T]:
    return [item for _, item in sorted(((draw.random(), item) for item in items), key=lambda pair: pair[0])]


if __name__ == "__main__":
    main()
