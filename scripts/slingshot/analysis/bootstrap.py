"""The bootstrap over samples, or over whole groups of them: a resample is a row of weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from slingshot.analysis.groups import Floats, Groups
from slingshot.config.reporting import Statistics

BLOCK_BYTES = 64 * 2**20  # of one block of weights: memory stays bounded whatever n and the number of resamples


def resample_weights(groups: Groups, statistics: Statistics) -> Iterator[Floats]:
    """Blocks of shape (m, n): how often each sample counts in each of m resamples of the groups, with replacement."""
    generator = np.random.default_rng(statistics.seed)
    count = groups.count
    block = max(1, BLOCK_BYTES // (8 * len(groups.index)))
    for start in range(0, statistics.resamples, block):
        rows = min(block, statistics.resamples - start)
        drawn = generator.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        yield weights[:, groups.index] if groups.matter else weights
