"""What two ways through a network are held against."""

import pytest
import torch

from slingshot.core.errors import StudyError
from slingshot.nn import agreement
from tests.unit.tiny_models import tiny_model


def test_one_prompt_makes_sequences_of_three_lengths():
    """In bfloat16 on a GPU one prompt alone had no noise between shapes, and the packed way was refused for its own."""
    sequences = agreement.sequences_to_check(tiny_model("llama"), [list(range(3, 33))])
    assert len({len(sequence) for sequence in sequences}) == 3


def test_a_window_that_only_the_answer_exceeds_is_looked_at():
    model = tiny_model("mistral", sliding_window=40)
    prompts = [list(range(3, 33)), list(range(3, 20))]
    assert max(map(len, agreement.sequences_to_check(model, prompts))) == 30
    assert max(map(len, agreement.sequences_to_check(model, prompts, new_tokens=11))) > 40


@pytest.mark.parametrize(("dtype", "least", "most"), [(torch.bfloat16, 2e-3, 0.1), (torch.float32, 1e-8, 1e-5)])
def test_rounding_makes_noise_where_all_batch_shapes_add_up_alike(dtype, least, most):
    """A processor's bfloat16 products did, and a finetuned Llama answered by the padded way for 3.55% against 0.00%."""
    model = tiny_model("llama").to(dtype)
    sequences = agreement.sequences_to_check(model, [list(range(3, 33))])
    own = agreement.own_logits(model, sequences, 3)
    assert least < agreement.noise_of_rounding(model, sequences, own, 3) < most
    assert agreement.distance(agreement.own_logits(model, sequences, 3), own) == 0  # nothing is left behind


def test_a_network_that_does_not_name_its_embeddings_is_judged_by_batch_shapes(monkeypatch):
    model = tiny_model("llama")
    sequences = agreement.sequences_to_check(model, [list(range(3, 33))])
    own = agreement.own_logits(model, sequences, 3)

    def unnamed():
        raise NotImplementedError

    monkeypatch.setattr(model, "get_input_embeddings", unnamed)
    assert agreement.noise_of_rounding(model, sequences, own, 3) == agreement.noise_between_shapes(
        model, sequences, own, 3
    )


def test_logits_that_are_not_numbers_are_refused_by_name():
    """float16 ends at 65,504: a network that exceeds it answered its first token to everything."""
    model = tiny_model("llama").to(torch.float16)
    model.model.layers[0].mlp.down_proj.weight.data.fill_(6e4)
    sequences = agreement.sequences_to_check(model, [list(range(3, 33))])
    with pytest.raises(StudyError, match="LlamaForCausalLM's logits are not numbers in float16: set dtype to"):
        agreement.own_logits(model, sequences, 3)
