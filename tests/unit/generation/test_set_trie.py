"""Lists of labels over the trie: it is walked again behind each separator, and no label comes twice."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from slingshot.artifacts.labels import Label
from slingshot.config.specs import AnswerSet, PromptText
from slingshot.core.errors import StudyError
from slingshot.generation.allowed_answers import allowed_sets
from slingshot.generation.generate import generate
from slingshot.generation.packed import _MOST_USED
from slingshot.generation.padded import generate_padded
from slingshot.generation.set_candidates import SetCandidates
from slingshot.generation.set_trie import LinePaths, build_set_trie
from slingshot.generation.types import Decoding, GenerationStats, Memory
from slingshot.prompting.prompter import Prompter
from slingshot.prompting.right_answers import AnswerWriter
from tests.tiny import TEMPLATES, byte_tokenizer
from tests.unit.generation.test_generate import END, make_prompts
from tests.unit.tiny_models import tiny_model

SEPARATOR, MELTED = 3, 4

LINES = {"E11": [20, 21], "E119": [20, 21, 22], "E12": [20, 23], "Z": [30]}  # Z melts with what follows it

NOTHING = [40, END]


def set_trie(lines=LINES, nothing=None, later_shift=0):
    """Later lines may have other ids than the first, as with SentencePiece."""

    def paths(shift):
        ids = [[token + shift for token in line] for line in lines.values()]
        followed = [
            [*line[:-1], MELTED] if name == "Z" else [*line, SEPARATOR] for name, line in zip(lines, ids, strict=True)
        ]
        return LinePaths([[*line, END] for line in ids], followed)

    return build_set_trie(list(lines), paths(0), paths(later_shift), [END], nothing)


def written(trie_lines, labels, shift=0):
    ids = []
    for place, label in enumerate(labels):
        line = [token + (shift if place else 0) for token in trie_lines[label]]
        if place == len(labels) - 1:
            return [*ids, *line, END]
        ids += [*line[:-1], MELTED] if label == "Z" else [*line, SEPARATOR]
    return [*NOTHING]


def every_list(lines):
    """All lists of different labels, to which the walk must lead, and to no other."""
    return [list(some) for size in range(1, len(lines) + 1) for some in itertools.permutations(lines, size)]


def walk(trie, wanted):
    """Follow an answer by the moves that are allowed; None where one is not."""
    nodes, used, done = torch.zeros(1, dtype=torch.int64), trie.nothing_used(1), torch.zeros(1, dtype=torch.bool)
    for token in wanted:
        _, tokens, exists = trie.allowed(nodes, used)
        if token not in tokens[exists].tolist():
            return None
        logits = torch.zeros(1, 300)
        logits[0, token] = 1
        chosen, ended = trie.choose(logits, nodes, used, done)
        assert chosen.tolist() == [token]
        done |= ended
    return bool(done)


@pytest.mark.parametrize("shift", [0, 30])
def test_every_list_without_repeats_is_allowed_and_no_other(shift):
    trie = set_trie(nothing=NOTHING, later_shift=shift)
    for labels in every_list(LINES):
        ids = written(LINES, labels, shift)
        assert walk(trie, ids) is True and trie.read(ids) == labels
        again = written(LINES, [*labels, labels[0]], shift)
        assert walk(trie, again) is None
    assert walk(trie, NOTHING) is True and trie.read(NOTHING) == []
    assert walk(trie, [*written(LINES, ["E11", "Z"], shift)[:3], *NOTHING]) is None  # nothing is no second line
    assert walk(set_trie(), NOTHING) is None
    assert trie.read(written(LINES, ["Z", "E119", "E11"], shift)[:-2]) == ["Z", "E119"]  # a cut line is left out


def test_a_row_whose_labels_are_all_named_ends():
    trie = set_trie({"A": [20], "B": [21]})
    nodes, used, done = torch.zeros(1, dtype=torch.int64), trie.nothing_used(1), torch.zeros(1, dtype=torch.bool)
    logits = torch.zeros(1, 300)
    logits[0, SEPARATOR] = 1  # always goes on
    ids = []
    while not done:
        chosen, ended = trie.choose(logits, nodes, used, done)
        ids += chosen.tolist()
        done |= ended
    assert trie.read(ids) == ["A", "B"] and ids[-1] == END


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [({}, "empty"), ({"A": [5], "B": [5]}, "same answer"), ({"A": [5], "B": [5, SEPARATOR, 6]}, "same answer")],
)
def test_label_sets_that_no_list_can_tell_apart_are_named(lines, complaint):
    with pytest.raises(StudyError, match=complaint):
        set_trie(lines)


@torch.inference_mode()
def greedy_lists(model, prompt, steps):
    """The likeliest next token among all lists that go on so, by plain forward passes."""
    lists = [written(LINES, labels) for labels in every_list(LINES)]
    path = []
    while len(path) < steps:
        allowed = sorted({ids[len(path)] for ids in lists if ids[: len(path)] == path and len(ids) > len(path)})
        logits = model(torch.tensor([[*prompt, *path]])).logits[0, -1]
        path.append(max(allowed, key=lambda token: float(logits[token])))
        if path[-1] == END:
            break
    return path


@torch.inference_mode()
def in_set_probabilities(model, prompt, ids, trie):
    """1 - prod(1 - h_n) of each label, each h_n by plain forward passes over both of its paths."""
    missing, named = dict.fromkeys(LINES, 1.0), set()
    for start, place in trie.line_starts(ids):
        for label in LINES:
            hazard = 0.0
            for last in (True, False):
                path = (
                    written(LINES, [label])
                    if last
                    else written(LINES, [label, "Z"])[: len(LINES[label]) + (label != "Z")]
                )
                log_probs = model(torch.tensor([[*prompt, *ids[:start], *path]])).logits[0].log_softmax(-1)
                at = len(prompt) + start - 1
                hazard += math.exp(sum(float(log_probs[at + n, token]) for n, token in enumerate(path)))
            if label not in named:
                missing[label] *= 1 - hazard
        named.add(list(LINES)[place])
    return {label: 1 - left for label, left in missing.items()}


@pytest.mark.parametrize(("family", "shared", "way"), [("llama", 20, "packed"), ("llama", 20, "plain")])
def test_both_ways_list_what_plain_forward_passes_list(family, shared, way):
    model, prompts, steps = tiny_model(family), make_prompts(5, shared), 11
    trie = set_trie()
    decoding = Decoding(steps, (END,), constrained=True, candidates=4, trie=trie)
    answers, report = {}, GenerationStats()
    for some in (generate if way == "packed" else generate_padded)(model, prompts, decoding, Memory(), report):
        answers.update(some)
    assert not report.notes
    found = set()
    for index, prompt in enumerate(prompts):
        ids = greedy_lists(model, prompt, steps)
        assert answers[index].constrained_set == trie.read(ids)
        found.add(tuple(trie.read(ids)))
        expected = in_set_probabilities(model, prompt, ids, trie)
        candidates = dict(answers[index].candidates)
        assert sorted(candidates) == sorted(LINES)
        assert [math.exp(value) for value in candidates.values()] == pytest.approx(
            sorted(expected.values(), reverse=True), abs=2e-5
        )
        assert {label: math.exp(value) for label, value in candidates.items()} == pytest.approx(expected, abs=2e-5)
    assert len(found) > 1 and max(map(len, found)) > 1  # the prompts matter, and lists go on


def test_a_label_that_a_line_is_sure_of_is_in_the_set():
    trie = set_trie()
    ranked = SetCandidates(trie, written(LINES, ["E12", "Z"]))
    ranked.add(0, [(2, math.log(0.75)), (2, math.log(0.25)), (3, math.log(1e-3))])
    ranked.add(1, [(3, math.log(0.5)), (2, math.log(0.4))])  # E12 is named: its repetition says nothing
    best = dict(ranked.best(4))
    assert best["E12"] == pytest.approx(0, abs=1e-6)
    assert math.exp(best["Z"]) == pytest.approx(1 - 0.999 * 0.5, abs=1e-6)
    assert _MOST_USED // (len(trie.size) + 1) > 512


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_trie_has_the_ids_that_are_trained_on(template):
    labels = [Label(label=name, description=None, train_samples=1) for name in ("E11", "E119", "I10")]
    several = AnswerSet(order="code", empty=True)
    prompt = PromptText(system="", user="{{ text }}", answer="code", max_tokens=99, several=several)
    prompter, writer = Prompter(byte_tokenizer(template), prompt), AnswerWriter("code", several, labels)
    trie = allowed_sets(prompter, prompt, {label.label: "" for label in labels})
    for wanted in ([], ["I10"], ["E11", "E119"], ["E11", "E119", "I10"]):
        ids = prompter.completion_of(writer.lines({"labels": wanted}))
        assert walk(trie, ids) is True and trie.read(ids) == wanted
