import random
from pathlib import Path

import numpy as np
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from slingshot.data.near_duplicates import (
    PERMUTATIONS,
    SHINGLE,
    Sketches,
    WordHashes,
    merge,
    rows_per_band,
    shingle_hashes,
    signatures,
)

WORDS = st.lists(st.sampled_from([f"w{n}" for n in range(30)]), min_size=1, max_size=40)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_signatures_are_those_of_datasketch(texts: list[list[str]]) -> None:
    values = signatures(texts)
    shingles, starts = shingle_hashes(texts, WordHashes())
    for number, part in enumerate(np.split(shingles, starts[1:])):
        expected = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=int)
        expected.update_batch(part.tolist())
        assert (values[number] == expected.hashvalues).all()


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_shingles_are_those_of_each_text_alone(texts: list[list[str]]) -> None:
    shingles, starts = shingle_hashes(texts, WordHashes())
    for text, part in zip(texts, np.split(shingles, starts[1:]), strict=True):
        assert len(part) == max(1, len(text) - SHINGLE + 1)
        assert (part == shingle_hashes([text], WordHashes())[0]).all()


def clusters_of(tmp_path: Path, texts: list[list[str]], similarity: float = 0.8, batch: int = 7) -> list[int]:
    sketches = Sketches(tmp_path, similarity)
    for start in range(0, len(texts), batch):
        sketches.add(texts[start : start + batch])
    ties = np.array([hash(tuple(text)) & (2**63 - 1) for text in texts], np.uint64)
    return sketches.clusters(np.arange(len(texts)), ties).tolist()


def text_of(rng: random.Random, length: int) -> list[str]:
    return [f"w{rng.randrange(5000)}" for _ in range(length)]


def test_twins_are_found_and_strangers_are_not(tmp_path: Path) -> None:
    rng = random.Random(0)
    originals = [text_of(rng, 300) for _ in range(100)]
    twins = [[*text[:150], "changed", *text[151:]] for text in originals]  # Jaccard 291/301
    cousins = [[*text[:150], *text_of(rng, 150)] for text in originals]  # Jaccard about 1/3
    found = clusters_of(tmp_path, originals + twins + cousins)
    assert found[100:200] == list(range(100))
    assert found[200:] == list(range(200, 300))


def test_a_pair_at_the_threshold_is_a_candidate_with_99_percent() -> None:
    for similarity in (0.5, 0.7, 0.8, 0.9, 1.0):
        rows = rows_per_band(similarity)
        assert PERMUTATIONS % rows == 0
        assert 1 - (1 - similarity**rows) ** (PERMUTATIONS // rows) >= 0.99


def test_a_crowd_of_twins_is_one_cluster(tmp_path: Path) -> None:
    rng = random.Random(1)
    base = text_of(rng, 400)
    crowd = []
    for _ in range(300):
        text = list(base)
        text[rng.randrange(400)] = f"x{rng.randrange(10**9)}"
        crowd.append(text)
    assert set(clusters_of(tmp_path, crowd)) == {0}


def test_clusters_do_not_depend_on_order_or_batches(tmp_path: Path) -> None:
    rng = random.Random(2)
    texts = [text_of(rng, 60) for _ in range(40)]
    texts += [[*text[:30], "x", *text[30:]] for text in texts[:20]]
    one = clusters_of(tmp_path, texts)
    order = rng.sample(range(len(texts)), len(texts))
    other = clusters_of(tmp_path, [texts[place] for place in order], batch=1000)
    pairs = {frozenset((a, b)) for a in range(60) for b in range(a) if one[a] == one[b]}
    again = {frozenset((order[a], order[b])) for a in range(60) for b in range(a) if other[a] == other[b]}
    assert pairs == again
    assert len(pairs) >= 20


def test_short_texts_are_twins_only_when_equal(tmp_path: Path) -> None:
    assert clusters_of(tmp_path, [["no"], ["no"], ["yes"], ["no", "no"]]) == [0, 0, 2, 3]


@given(st.integers(2, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=30))
def test_merging_is_the_transitive_closure(count: int, edges: list[tuple[int, int]]) -> None:
    edges = [(a % count, b % count) for a, b in edges]
    parent = list(range(count))
    for a, b in edges * count:  # slow and plain: spread the least number along edges until nothing changes
        parent[a] = parent[b] = min(parent[a], parent[b])
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    assert merge(np.arange(count), left, right).tolist() == parent


def test_hashes_of_words_do_not_change_from_run_to_run() -> None:
    assert WordHashes()["123456789"] == 0xCBF43926  # the check value of CRC-32
