"""Dealing samples to train, validation and test, and taking part of a split.

Everything here depends on the samples' hashes and the seed, never on the order of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from slingshot.config.data import Split
from slingshot.core.hashing import seeded

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]
Parts = NDArray[np.int8]  # indices into SPLITS
Floats = NDArray[np.float64]

SUBSET_SEED = 0  # every finetune of a learning curve draws its subset with the same

_LARGEST_CARRY = 1.0


def deal(split: Split, keys: Hashes, labels: Numbers, groups: Numbers) -> Parts:
    """The split of each sample, as an index into SPLITS. No group is dealt to two splits.

    Args:
        split: shares, seed and method
        keys: n group keys that depend on content alone; the samples of a group have the same
        labels: n numbers of labels
        groups: n numbers of groups
    """
    shares = np.array([split.train, split.validation, split.test])
    hashes = seeded(keys, split.seed, "split")
    if split.method == "hash":
        return deal_by_hash(hashes, shares)
    return deal_stratified(hashes, labels, groups, shares)


def deal_several(split: Split, keys: Hashes, members: csr_matrix, groups: Numbers) -> Parts:
    """As `deal`, of samples with several labels each; `members` has shape (n, labels)."""
    shares = np.array([split.train, split.validation, split.test])
    hashes = seeded(keys, split.seed, "split")
    return deal_by_hash(hashes, shares) if split.method == "hash" else deal_sets(hashes, members, groups, shares)


def deal_by_hash(hashes: Hashes, shares: Floats) -> Parts:
    """A group's split from its own hash: the shares hold in expectation, and rows elsewhere move nothing."""
    place = (hashes >> np.uint64(11)).astype(np.float64) / 2**53
    bounds = np.cumsum(shares)[:-1]
    chosen = np.searchsorted(bounds, place, "right")
    if shares[2] == 0:  # rounding must not deal to a split of no share
        chosen = np.minimum(chosen, 1 if shares[1] else 0)
    return chosen.astype(np.int8)


def deal_stratified(hashes: Hashes, labels: Numbers, groups: Numbers, shares: Floats) -> Parts:
    """Keep each label's shares as far as the groups allow, then the shares of the whole.

    Groups of several samples go first, the large before the small, each to the split that is emptiest in the group's
    labels and as a whole, relative to what it should hold, unless half of the group would not fit (after Sechidis,
    Tsoumakas, Vlahavas 2011). Then every label's single samples are dealt by largest remainder; what a label is off
    by is carried to the next, so that the shares of the whole hold although no label of 5 samples can be cut 70/15/15.
    """
    _, labels = np.unique(labels, return_inverse=True)
    _, group, size = np.unique(groups, return_inverse=True, return_counts=True)
    result = np.full(len(labels), -1, np.int8)
    wanted = shares[:, None] * np.bincount(labels)[None, :]  # [split, label]
    have = np.zeros_like(wanted)
    single = size[group] == 1
    _deal_groups(result, hashes, labels, group, size, wanted, have)
    _deal_singles(result, np.flatnonzero(single), hashes, labels, wanted, have)
    return result


def deal_sets(hashes: Hashes, members: csr_matrix, groups: Numbers, shares: Floats) -> Parts:
    """Iterative stratification of samples with several labels (Sechidis, Tsoumakas, Vlahavas 2011), in whole groups.

    Always the label with the fewest undealt samples goes next, its groups in the order of their hashes, each to the
    split that lacks most of this label, of equals to that which lacks most samples. Groups without any label are dealt
    last, by samples alone.

    Args:
        hashes: n numbers that depend on content alone; the samples of a group have the same
        members: shape (n, labels), 1 where a sample has a label
        groups: n numbers of groups
    """
    names, group = np.unique(groups, return_inverse=True)
    gathered = csr_matrix((np.ones(len(group)), (group, np.arange(len(group)))), (len(names), len(group)))
    counts = (gathered @ members).tocsr()
    size, order = np.bincount(group), np.empty(len(names), np.uint64)
    order[group] = hashes
    lacking = shares[:, None] * np.asarray(counts.sum(axis=0))  # [split, label]
    room = shares * len(group)
    closed = np.where(shares > 0, 0.0, np.inf)
    left = np.asarray((counts > 0).sum(axis=0)).ravel().astype(np.int64)  # undealt groups of each label
    by_label = counts.tocsc()
    chosen = np.full(len(names), -1, np.int8)

    def assign(place: int, wish: Floats) -> None:
        row = slice(counts.indptr[place], counts.indptr[place + 1])
        labels, amount = counts.indices[row], counts.data[row]
        best = int(np.lexsort((-room, -(wish - closed)))[0])
        chosen[place] = best
        lacking[best, labels] -= amount
        room[best] -= size[place]
        left[labels] -= 1

    while (left > 0).any():
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        places = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
        undealt = places[chosen[places] < 0]
        for place in undealt[np.lexsort((order[undealt], -size[undealt]))]:
            assign(int(place), lacking[:, label])
    rest = np.flatnonzero(chosen < 0)
    for place in rest[np.lexsort((order[rest], -size[rest]))]:
        assign(int(place), room.copy())
    return chosen[group]


def _deal_groups(
    result: Parts,
    hashes: Hashes,
    labels: Numbers,
    group: Numbers,
    size: Numbers,
    wanted: Floats,
    have: Floats,
) -> None:
    """Deal the groups of two samples or more; fills `result` and `have`."""
    members = np.flatnonzero(size[group] > 1)
    if not len(members):
        return
    places, rank = np.unique(group[members], return_inverse=True)
    counts = csr_matrix((np.ones(len(members)), (rank, labels[members])), (len(places), wanted.shape[1]))
    counts.sum_duplicates()
    group_hash = np.zeros(len(places), np.uint64)
    group_hash[rank] = hashes[members]
    open_splits = np.flatnonzero(wanted.sum(axis=1) > 0)
    total, taken = wanted.sum(axis=1)[open_splits], np.zeros(len(open_splits))
    fit = wanted[open_splits].min(axis=0) >= 1  # a rarer label can't be had in every split
    chosen = np.empty(len(places), np.int8)
    for place in np.lexsort((group_hash, -size[places])):
        part = slice(counts.indptr[place], counts.indptr[place + 1])
        label, count = counts.indices[part], counts.data[part]
        rows = count.sum()
        fullness = (taken + rows / 2) / total
        frequent = fit[label]
        columns = np.ix_(open_splits, label[frequent])
        by_label = ((have[columns] + count[frequent] / 2) / wanted[columns]) @ count[frequent] / rows
        full = fullness > 1 if (fullness <= 1).any() else fullness > fullness.min()
        best = int(np.argmin(np.where(full, np.inf, by_label + fullness)))
        chosen[place] = open_splits[best]
        have[open_splits[best], label] += count
        taken[best] += rows
    result[members] = chosen[rank]


def _deal_singles(
    result: Parts,
    singles: Numbers,
    hashes: Hashes,
    labels: Numbers,
    wanted: Floats,
    have: Floats,
) -> None:
    """Deal the samples that are a group of their own, one label at a time; fills `result`."""
    if not len(singles):
        return
    order = singles[np.lexsort((hashes[singles], labels[singles]))]
    starts = np.flatnonzero(np.r_[True, labels[order][1:] != labels[order][:-1]])
    by_label = np.split(order, starts[1:])
    by_label.sort(key=lambda samples: int(hashes[samples[0]]))  # the carry goes in random, not alphabetical order
    carry = np.zeros(len(wanted))
    for samples in by_label:
        label = labels[samples[0]]
        due = wanted[:, label] - have[:, label] + carry
        counts = round_to(due, len(samples), wanted[:, label] > 0)
        result[samples] = np.repeat(np.arange(len(counts), dtype=np.int8), counts)
        carry = np.clip(due - counts, -_LARGEST_CARRY, _LARGEST_CARRY)
        carry[wanted[:, label] == 0] = 0


def round_to(due: Floats, total: int, allowed: NDArray[np.bool_]) -> Numbers:
    """Whole numbers of sum `total`, none below 0, as near to `due` as that allows (largest remainder)."""
    counts = np.where(allowed, np.floor(np.maximum(due, 0)), 0).astype(np.int64)
    while counts.sum() > total:
        counts[np.argmax(np.where(counts > 0, counts - due, -np.inf))] -= 1
    missing = total - int(counts.sum())
    if missing > len(due):  # large groups elsewhere left more room than these samples fill
        counts += np.where(allowed, missing // int(allowed.sum()), 0)
        missing = total - int(counts.sum())
    for _ in range(missing):
        counts[np.argmax(np.where(allowed, due - counts, -np.inf))] += 1
    return counts


def stratified_order(keys: Hashes, labels: Numbers, seed: int) -> Numbers:
    """An order of samples of which every beginning is a stratified sample: larger samples extend smaller ones.

    Systematic sampling: a label's samples stand at even distances, from a seeded start.

    Args:
        keys: n sample hashes
        labels: n numbers of labels; which number a label has does not matter
        seed: of the choice within a label
    """
    if not len(keys):
        return np.zeros(0, np.int64)
    hashes = seeded(keys, seed, "order")
    _, label, size = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.lexsort((hashes, label))
    starts = np.cumsum(size) - size
    rank = np.empty(len(keys), np.int64)
    rank[order] = np.arange(len(keys)) - np.repeat(starts, size)
    first = seeded(hashes[order[starts]], seed, "start")  # depends on content, not on the label's number
    offset = (first >> np.uint64(11)).astype(np.float64) / 2**53
    return np.lexsort((hashes, (rank + offset[label]) / size[label]))


def stratified_subset(sample_ids: Sequence[str], labels: Sequence[str], size: int | None) -> Numbers:
    """Positions, ascending, of `size` samples that keep each label's share as far as that can be; None: of all.

    A larger subset contains every smaller one, so that points of a learning curve differ in what was added alone. The
    choice depends on ids and labels only: neither on the order of the rows nor on the seed of training.

    Args:
        sample_ids: n ids that differ from one another
        labels: n labels
    """
    if size is None or size >= len(sample_ids):
        return np.arange(len(sample_ids))
    digests = b"".join(hashlib.blake2b(each.encode(), digest_size=8).digest() for each in sample_ids)
    numbers = np.unique(np.asarray(labels, dtype=str), return_inverse=True)[1]
    return np.sort(stratified_order(np.frombuffer(digests, "<u8"), numbers, SUBSET_SEED)[:size])
