"""The token budget follows from two probes and free memory."""

from slingshot.training.token_budget import MOST, Probe, budget_from_probes


def test_the_budget_is_what_the_line_through_the_probes_allows():
    small, large = Probe(1000, 3_000_000), Probe(2000, 5_000_000)  # 2,000 bytes a token and 1 MB fixed
    assert budget_from_probes(small, large, available=10_000_000, longest=500) == (9_400_000 - 1_000_000) // 2000


def test_too_little_memory_for_the_longest_sample_is_no_budget():
    small, large = Probe(1000, 3_000_000), Probe(2000, 5_000_000)
    assert budget_from_probes(small, large, available=10_000_000, longest=5000) is None


def test_a_budget_has_a_bound():
    assert budget_from_probes(Probe(1, 1), Probe(2, 2), available=10**12, longest=5) == MOST
