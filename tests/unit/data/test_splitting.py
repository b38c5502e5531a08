from hashlib import blake2b

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slingshot.artifacts.splits import SPLITS
from slingshot.config.data import Split
from slingshot.core.hashing import seeded
from slingshot.data.splitting import deal, round_to, stratified_order, stratified_subset

SHARES = st.tuples(st.integers(1, 8), st.integers(0, 4), st.integers(1, 4)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)


def keys_of(count: int) -> NDArray[np.uint64]:
    return seeded(np.arange(count, dtype=np.uint64), 0, "test")


def split_of(shares: tuple[float, ...], method: str = "stratified", seed: int = 42) -> Split:
    train, validation, _ = shares
    return Split(train=train, validation=validation, test=1 - train - validation, seed=seed, method=method)  # type: ignore[arg-type]


@st.composite
def samples(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels and groups of up to some 200 samples; groups may hold several labels."""
    count = draw(st.integers(1, 200))
    labels = draw(st.lists(st.integers(0, 12), min_size=count, max_size=count))
    groups = draw(st.lists(st.integers(0, draw(st.integers(0, 2 * count))), min_size=count, max_size=count))
    return np.array(labels), np.array(groups)


@given(samples(), SHARES, st.sampled_from(["stratified", "hash"]), st.integers(0, 5))
def test_no_row_is_lost_and_no_group_is_split(
    rows: tuple[NDArray[np.int64], NDArray[np.int64]], shares: tuple[float, ...], method: str, seed: int
) -> None:
    labels, groups = rows
    dealt = deal(split_of(shares, method, seed), keys_of(1000)[groups], labels, groups)
    assert set(np.unique(dealt)) <= set(range(len(SPLITS)))
    for group in np.unique(groups):
        assert len(np.unique(dealt[groups == group])) == 1
    if shares[1] == 0:
        assert not (dealt == 1).any()


@given(samples(), SHARES, st.sampled_from(["stratified", "hash"]), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: tuple[NDArray[np.int64], NDArray[np.int64]], shares: tuple[float, ...], method: str, random: object
) -> None:
    labels, groups = rows
    keys = keys_of(1000)[groups]
    order = np.array(random.sample(range(len(labels)), len(labels)))  # type: ignore[attr-defined]
    dealt = deal(split_of(shares, method), keys, labels, groups)
    assert (deal(split_of(shares, method), keys[order], labels[order], groups[order]) == dealt[order]).all()


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), SHARES)
def test_single_samples_keep_the_shares_of_the_whole_and_of_each_label(
    sizes: list[int], shares: tuple[float, ...]
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    dealt = deal(split_of(shares), keys_of(len(labels)), labels, np.arange(len(labels)))
    for number, share in enumerate(shares):
        assert abs((dealt == number).sum() - share * len(labels)) <= 2
        for label, size in enumerate(sizes):
            assert abs((dealt[labels == label] == number).sum() - share * size) < 2.5


@given(samples(), SHARES)
def test_groups_keep_the_shares_within_the_largest_group(
    rows: tuple[NDArray[np.int64], NDArray[np.int64]], shares: tuple[float, ...]
) -> None:
    labels, groups = rows
    dealt = deal(split_of(shares), keys_of(1000)[groups], labels, groups)
    largest = np.bincount(groups).max()
    for number, share in enumerate(shares):
        assert (dealt == number).sum() - share * len(labels) <= largest + 2


def test_five_rows_a_code_are_cut_70_15_15_over_all_codes() -> None:
    labels = np.repeat(np.arange(2000), 5)
    dealt = deal(Split(), keys_of(len(labels)), labels, np.arange(len(labels)))
    assert np.abs(np.bincount(dealt) - [7000, 1500, 1500]).max() <= 2
    per_label = np.stack([np.bincount(labels[dealt == number], minlength=2000) for number in range(3)])
    assert per_label[0].min() >= 3
    assert per_label[1:].max() <= 2


def test_under_hash_rows_added_elsewhere_move_nothing() -> None:
    keys = keys_of(5000)
    split = Split(method="hash")
    few = deal(split, keys[:1000], np.zeros(1000, np.int64), np.arange(1000))
    many = deal(split, keys, np.zeros(5000, np.int64), np.arange(5000))
    assert (many[:1000] == few).all()
    shares = np.bincount(many) / 5000
    assert np.abs(shares - [0.70, 0.15, 0.15]).max() < 4 * np.sqrt(0.7 * 0.3 / 5000)


def test_another_seed_deals_otherwise() -> None:
    labels = np.repeat(np.arange(20), 10)
    one, other = (deal(Split(seed=seed), keys_of(200), labels, np.arange(200)) for seed in (1, 2))
    assert (one != other).any()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=120), st.data())
def test_a_larger_sample_extends_a_smaller_one_and_both_are_stratified(labels: list[int], data: st.DataObject) -> None:
    label = np.array(labels)
    order = stratified_order(keys_of(len(label)), label, 42)
    assert sorted(order) == list(range(len(label)))
    count = data.draw(st.integers(0, len(label)))
    taken = np.bincount(label[order[:count]], minlength=10)
    expected = np.bincount(label, minlength=10) * count / len(label)
    assert np.abs(taken - expected).max() <= 2.5
    shuffled = np.array(data.draw(st.permutations(range(len(label)))))
    again = stratified_order(keys_of(len(label))[shuffled], label[shuffled], 42)
    assert (shuffled[again] == order).all()


@given(st.lists(st.floats(-3, 12), min_size=3, max_size=3), st.integers(0, 40))
def test_rounding_hands_out_every_sample(due: list[float], total: int) -> None:
    counts = round_to(np.array(due), total, np.array([True, False, True]))
    assert counts.sum() == total
    assert counts.min() >= 0
    assert counts[1] == 0


@settings(max_examples=20)
@given(st.integers(0, 2**64 - 1))
def test_hashes_are_stable(key: int) -> None:
    one = seeded(np.array([key], np.uint64), 42, "split")
    assert one == seeded(np.array([key, 1], np.uint64), 42, "split")[0]
    assert one != seeded(np.array([key], np.uint64), 43, "split")


def splitmix64(value: int) -> int:
    """The reference (Steele, Lea, Flood 2014) in Python's own integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


@given(st.integers(0, 2**64 - 1))
def test_hashes_are_those_of_splitmix64(key: int) -> None:
    salt = int(np.frombuffer(blake2b(b"split\x0042", digest_size=8).digest(), "<u8")[0])
    assert int(seeded(np.array([key], np.uint64), 42, "split")[0]) == splitmix64(key ^ salt)


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=120), st.data())
def test_a_subset_is_nested_stratified_and_independent_of_the_rows_order(
    labels: list[str], data: st.DataObject
) -> None:
    ids = [f"sample {number}" for number in range(len(labels))]
    small = data.draw(st.integers(1, len(labels) - 1))
    large = data.draw(st.integers(small, len(labels)))
    chosen, more = (stratified_subset(ids, labels, size) for size in (small, large))
    assert (len(chosen), len(more)) == (small, large)
    assert set(chosen) <= set(more)
    for label in set(labels):
        expected = small * labels.count(label) / len(labels)
        assert abs(sum(labels[position] == label for position in chosen) - expected) <= 2.5
    order = data.draw(st.permutations(range(len(labels))))
    again = stratified_subset([ids[each] for each in order], [labels[each] for each in order], small)
    assert {order[position] for position in again} == set(chosen)


def test_a_subset_without_a_size_or_of_more_than_there_is_is_all() -> None:
    assert list(stratified_subset(["x", "y"], ["a", "b"], None)) == [0, 1]
    assert list(stratified_subset(["x", "y"], ["a", "b"], 5)) == [0, 1]
