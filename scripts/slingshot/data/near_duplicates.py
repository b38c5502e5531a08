"""Clusters of texts that are nearly the same, by MinHash and locality-sensitive hashing.

Two texts are twins when the sets of their word 5-grams have a Jaccard similarity of at least a threshold
(Broder 1997). The similarity is estimated from 126 MinHash values (permutations: datasketch's), so with a standard
error of at most 0.045 (0.036 at 0.8). Candidates share a band of values (Leskovec, Rajaraman, Ullman: Mining of Massive
Datasets, 3.4); the bands are chosen so that a pair at the threshold is a candidate with a probability of at least 0.99.

Sketches lie in unnamed files, some 290 bytes per text at a threshold of 0.8, and are read one band at a time, so that
memory stays within a few arrays of one number per text. In a band's bucket of more than WINDOW texts each is compared
with the WINDOW next ones only, so that the work grows with the number of texts, not with its square.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SHINGLE = 5  # words

PERMUTATIONS = 126  # has many divisors, so that bands fit many thresholds

WINDOW = 32

_RECALL = 0.99

_SHINGLES_PER_BLOCK = 16_384  # the working set stays in the processor's cache

_PAIRS_PER_BLOCK = 65_536

_WORDS_REMEMBERED = 500_000

_MULTIPLIERS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F], np.uint64
)


def rows_per_band(similarity: float) -> int:
    """The longest band that still finds a pair at this similarity with a probability of 0.99."""
    divisors = [rows for rows in range(PERMUTATIONS, 0, -1) if PERMUTATIONS % rows == 0]
    for rows in divisors:
        if 1 - (1 - similarity**rows) ** (PERMUTATIONS // rows) >= _RECALL:
            return rows
    return 1


class Sketches:
    """MinHash sketches of texts, in the order in which they were added."""

    def __init__(self, folder: Path, similarity: float) -> None:
        self.similarity = similarity
        self.texts = 0
        self._rows = rows_per_band(similarity)
        files = [tempfile.TemporaryFile(dir=folder) for _ in range(PERMUTATIONS // self._rows + 1)]  # noqa: SIM115
        self._signatures, *self._bands = files
        self._hashes = WordHashes()

    def add(self, texts: Sequence[list[str]]) -> None:
        """Sketch texts, given as their words."""
        if not texts:
            return
        values = signatures(texts, self._hashes)
        values.astype(np.uint8).tofile(self._signatures)  # the low byte is enough to compare by (Li, König 2010)
        for number, band in enumerate(self._bands):
            _band_keys(values[:, number * self._rows : (number + 1) * self._rows]).tofile(band)
        self.texts += len(texts)

    def clusters(self, chosen: NDArray[np.int64], tie_break: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Cluster the chosen texts.

        Args:
            chosen: positions of n texts, in the order of their adding
            tie_break: n numbers that order them whatever their positions, e.g. hashes of the texts

        Returns:
            n cluster numbers; a cluster's is the least index (into `chosen`) of its members.
        """
        clusters = np.arange(len(chosen))
        if len(chosen) < 2:
            return clusters
        self._signatures.flush()
        signature = np.memmap(self._signatures, np.uint8, "r", shape=(self.texts, PERMUTATIONS))
        for band in self._bands:
            band.seek(0)
            keys = np.fromfile(band, np.uint64)[chosen]
            order = np.lexsort((tie_break, keys))
            keys = keys[order]
            for shift in range(1, min(WINDOW + 1, len(chosen))):
                same = np.flatnonzero(keys[:-shift] == keys[shift:])
                if not len(same):
                    break
                left, right = order[same], order[same + shift]
                apart = clusters[left] != clusters[right]
                left, right = left[apart], right[apart]
                twins = _similar(signature, chosen[left], chosen[right], self.similarity)
                clusters = merge(clusters, left[twins], right[twins])
        return clusters


class WordHashes(dict[str, int]):
    """Words to 32-bit hashes that do not change from run to run; forgets all when it has grown too large."""

    def __missing__(self, word: str) -> int:
        if len(self) > _WORDS_REMEMBERED:
            self.clear()
        value = self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return value


def signatures(texts: Sequence[list[str]], hashes: WordHashes | None = None) -> NDArray[np.uint32]:
    """MinHash values (texts, PERMUTATIONS), as datasketch.MinHash computes them from the shingles' hashes."""
    from datasketch import MinHash  # slow to import, and not always needed

    multiplier, offset = MinHash(num_perm=PERMUTATIONS, seed=1).permutations
    shingles, starts = shingle_hashes(texts, WordHashes() if hashes is None else hashes)
    ends = np.append(starts[1:], len(shingles))
    result = np.empty((PERMUTATIONS, len(texts)), np.uint32)
    first = 0
    while first < len(texts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + _SHINGLES_PER_BLOCK, "right")))
        block = _mix(shingles[starts[first] : ends[last - 1]])
        bounds = starts[first:last] - starts[first]
        value = np.empty_like(block)
        for number in range(PERMUTATIONS):
            np.multiply(block, multiplier[number], out=value)
            value += offset[number]
            np.minimum.reduceat(value, bounds, out=result[number, first:last])
        first = last
    return result.T


def shingle_hashes(texts: Sequence[list[str]], hashes: WordHashes) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Hashes of all texts' word 5-grams, one after another, and where each text's begin.

    A text of fewer words is one shingle, filled up with nothing.
    """
    flat: list[int] = []
    lengths = np.empty(len(texts), np.int64)
    for number, text in enumerate(texts):
        flat += [hashes[word] for word in text]
        flat += [0] * (SHINGLE - len(text))
        lengths[number] = max(len(text), SHINGLE)
    values = np.array(flat, np.uint64)
    ends = np.cumsum(lengths)
    whole = np.ones(len(values), bool)
    for back in range(1, SHINGLE):
        whole[ends - back] = False
    count = len(values) - SHINGLE + 1
    combined = sum(values[n : n + count] * _MULTIPLIERS[n] for n in range(SHINGLE))
    combined = (combined ^ (combined >> np.uint64(29)))[whole[:count]] * _MULTIPLIERS[0]
    counts = lengths - SHINGLE + 1
    return (combined >> np.uint64(32)).astype(np.uint32), np.cumsum(counts) - counts


def merge(clusters: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Join the clusters of each pair of texts; the joined cluster takes the least number."""
    if not len(left):
        return clusters
    involved, ends = np.unique(np.concatenate([clusters[left], clusters[right]]), return_inverse=True)
    edges = coo_matrix((np.ones(len(left)), (ends[: len(left)], ends[len(left) :])), (len(involved), len(involved)))
    _, component = connected_components(edges, directed=False)
    least = np.full(component.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, component, involved)
    renamed = np.arange(len(clusters))
    renamed[involved] = least[component]
    return renamed[clusters]


def _mix(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finalizer of MurmurHash3, as datasketch applies it before its permutations."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def _band_keys(values: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """One 64-bit key for each text's values of a band."""
    key = np.zeros(len(values), np.uint64)
    for column in values.T:
        key = (key ^ column) * _MULTIPLIERS[0]
        key ^= key >> np.uint64(32)
    return key


def _similar(
    signature: NDArray[np.uint8], left: NDArray[np.int64], right: NDArray[np.int64], similarity: float
) -> NDArray[np.bool_]:
    """Whether each pair's estimated Jaccard similarity reaches the threshold.

    One byte of two different values is the same by chance once in 256; the estimate is corrected for that.
    """
    result = np.empty(len(left), bool)
    for start in range(0, len(left), _PAIRS_PER_BLOCK):
        block = slice(start, start + _PAIRS_PER_BLOCK)
        agreeing = (signature[left[block]] == signature[right[block]]).mean(axis=1)
        result[block] = (agreeing - 1 / 256) / (1 - 1 / 256) >= similarity - 1e-9
    return result
