"""What two ways through a network are held against."""

from slingshot.nn import agreement
from tests.unit.tiny_models import tiny_model


def test_one_prompt_makes_sequences_of_three_lengths():
    """In bfloat16 on a GPU one prompt alone had no noise between shapes, and the packed way was refused for its own."""
    sequences = agreement.sequences_to_check(tiny_model("llama"), [list(range(3, 33))])
    assert len({len(sequence) for sequence in sequences}) == 3
