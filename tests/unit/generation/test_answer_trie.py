"""The trie allows each label's answer and nothing else."""

from __future__ import annotations

import pytest
import torch

from slingshot.core.errors import StudyError
from slingshot.generation.answer_trie import build_trie
from slingshot.generation.beam import BeamSearch, beam_width

END = 99
ANSWERS = {"E11": [1, 2, END], "E119": [1, 2, 3, END], "E12": [1, 4, END], "Z": [7, END]}


def trie_of(answers=ANSWERS):
    return build_trie(list(answers), list(answers.values()), [END])


def paths_of(trie, node=0, path=()):
    """Every path from the root to a leaf, by the same walk that a device does."""
    if (label := int(trie.label[node])) >= 0:
        return {trie.labels[label]: list(path)}
    edges, tokens, exists = trie.children(torch.tensor([node]))
    found = {}
    for edge, token in zip(edges[exists].tolist(), tokens[exists].tolist(), strict=True):
        found.update(paths_of(trie, int(trie.child[edge]), (*path, token)))
    return found


def test_paths_are_the_answers():
    trie = trie_of()
    assert paths_of(trie) == ANSWERS
    assert trie.depth == 4
    assert trie.most_children == 2


def test_a_finished_row_stays_at_its_label():
    trie = trie_of()
    leaves = torch.nonzero(trie.label >= 0)[:, 0]
    edges, tokens, exists = trie.children(leaves)
    assert exists.sum(-1).tolist() == [1] * 4
    assert tokens[exists].tolist() == [END] * 4
    assert trie.child[edges[exists]].tolist() == leaves.tolist()


def test_what_follows_the_end_token_is_dropped():
    assert paths_of(trie_of({"A": [5, END, 6], "B": [6, END]})) == {"A": [5, END], "B": [6, END]}


def test_digest_tells_label_sets_apart_and_ignores_their_order():
    other = dict(reversed(ANSWERS.items()))
    assert trie_of().digest == trie_of(other).digest
    assert trie_of().digest != trie_of({**ANSWERS, "Y": [8, END]}).digest
    assert trie_of().digest != trie_of({**ANSWERS, "Z": [8, END]}).digest


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ({}, "empty"),
        ({"A": [1, 2]}, "no end token"),
        ({"A": [END]}, "empty answer"),
        ({"A": [1, END], "B": [1, END]}, "same answer"),
    ],
)
def test_impossible_label_sets_are_named(answers, complaint):
    with pytest.raises(StudyError, match=complaint):
        trie_of(answers)


def random_answers(count, seed):
    draw = torch.Generator().manual_seed(seed)
    answers = set()
    while len(answers) < count:
        length = int(torch.randint(1, 5, (1,), generator=draw))
        answers.add(tuple(torch.randint(0, 6, (length,), generator=draw).tolist()))
    return {f"L{number}": [*ids, END] for number, ids in enumerate(sorted(answers))}


def search_with_chain(answers, count, transitions):
    """Search under a first-order chain: the next token's probability depends on the last token alone."""
    trie = trie_of(answers)
    search = BeamSearch(trie, count, rows=len(transitions))
    last = torch.full((len(transitions), 1), 100)
    while search.alive:
        _, tokens, _ = search.children()
        rows = torch.arange(len(transitions))[:, None, None]
        log_probs = transitions[rows, last[..., None], tokens]
        parents, last = search.advance(log_probs)
        assert parents.shape == last.shape == (len(transitions), search.width)
    return search


def scores_under_chain(answers, transition):
    scores = {}
    for label, ids in answers.items():
        steps = zip([100, *ids], ids, strict=False)
        scores[label] = sum(float(transition[before, after]) for before, after in steps)
    return scores


@pytest.mark.parametrize("labels", [3, 12, 16, 300])
def test_best_labels_are_those_of_exhaustive_scoring(labels):
    answers = random_answers(labels, seed=labels)
    transitions = torch.randn(4, 101, 101, generator=torch.Generator().manual_seed(1)).mul(3).log_softmax(-1)
    search = search_with_chain(answers, 5, transitions)
    for best, exact, transition in zip(search.best(), search.exact(), transitions, strict=True):
        scores = scores_under_chain(answers, transition)
        expected = sorted(scores, key=scores.__getitem__, reverse=True)[:5]
        assert exact or labels > beam_width(5)
        if exact:
            assert [label for label, _ in best] == expected
            assert [score for _, score in best] == pytest.approx([scores[label] for label in expected], abs=1e-4)
    assert sum(search.exact()) >= 2


def test_a_beam_that_drops_the_best_label_does_not_claim_to_be_exact():
    """Forty first tokens are likelier than the one that alone leads on without loss."""
    answers = {f"L{first}": [first, 50, END] for first in range(41)}
    transition = torch.full((1, 101, 101), -30.0)
    transition[0, 100, :41] = torch.linspace(-1, -2, 41)
    transition[0, :40, 50] = -20.0
    transition[0, 40, 50] = 0.0
    transition[0, 50, END] = 0.0
    search = search_with_chain(answers, 5, transition)
    assert search.best()[0][0][0] != "L40"
    assert search.exact() == [False]
