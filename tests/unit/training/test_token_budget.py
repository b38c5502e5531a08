"""The token budget follows from two probes and free memory."""

from types import SimpleNamespace

import pytest

from slingshot.training.batches import Sample
from slingshot.training.token_budget import MOST, Probe, budget_from_probes, probed_samples
from tests.unit.training_inputs import random_samples


def test_the_budget_is_what_the_line_through_the_probes_allows():
    small, large = Probe(1000, 3_000_000), Probe(2000, 5_000_000)  # 2,000 bytes per token and 1 MB fixed
    assert budget_from_probes(small, large, available=10_000_000, longest=500) == (9_400_000 - 1_000_000) // 2000


def test_too_little_memory_for_the_longest_sample_is_no_budget():
    small, large = Probe(1000, 3_000_000), Probe(2000, 5_000_000)
    assert budget_from_probes(small, large, available=10_000_000, longest=5000) is None


def test_a_budget_has_a_bound():
    assert budget_from_probes(Probe(1, 1), Probe(2, 2), available=10**12, longest=5) == MOST


@pytest.mark.parametrize("large", [Probe(1000, 3_000_000), Probe(2000, 3_000_000), Probe(2000, 2_000_000)])
def test_a_line_without_slope_is_no_division_by_zero(large):
    small = Probe(1000, 3_000_000)
    budget = budget_from_probes(small, large, available=100_000_000, longest=500)
    assert budget is not None
    assert budget * large.peak / large.tokens <= 100_000_000


def test_few_samples_are_probed_again_and_again_and_the_longest_is_among_them():
    """Two train samples beside a longer one of validation: both probes had equally many tokens."""
    train, validation = random_samples(2), [Sample("long", tuple(range(60)), (3, 4), False)]
    trainer = SimpleNamespace(samples=train, validation=validation)
    small, large = (probed_samples(trainer, tokens) for tokens in (62, 124))
    assert small == validation
    assert 62 < sum(map(len, large)) <= 124
    assert sum(map(len, probed_samples(trainer, 1000))) > 900
