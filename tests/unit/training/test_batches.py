"""Packing loses no token, lets none see a neighbour, and depends on nothing but the samples."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from slingshot.config.specs import PromptText
from slingshot.core.errors import StudyError
from slingshot.prompting.prompter import Prompter
from slingshot.prompting.right_answers import AnswerWriter
from slingshot.training import batches as packing
from slingshot.training.samples import sample_encoder
from tests.tiny import TEMPLATES, byte_tokenizer
from tests.unit.training_inputs import random_samples


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(10, 120), st.integers(1, 4))
def test_bins_hold_each_sample_once_and_keep_the_budget(lengths, budget, workers):
    dealt = packing.bins(lengths, budget, at_least=workers)
    assert sorted(index for one in dealt for index in one) == list(range(len(lengths)))
    assert len(dealt) % workers == 0
    assert all(sum(lengths[index] for index in one) <= max(budget, max(lengths)) for one in dealt)


def test_bins_are_few_and_about_equally_full():
    dealt = packing.bins([10] * 8, 40)
    assert [len(one) for one in dealt] == [4, 4]


def test_packed_samples_restart_positions_and_score_completions_alone():
    samples = random_samples(5)
    packed = packing.pack(samples, seed=1, epoch=0, multiple_of=16)
    ids = packed.input_ids[0]
    assert len(ids) % 16 == 0 and packed.real_tokens == sum(map(len, samples))
    start = 0
    for index, sample in enumerate(samples):
        whole = [*sample.prompt, *sample.completion]
        assert ids[start : start + len(sample)].tolist() == whole
        assert packed.position_ids[0, start : start + len(sample)].tolist() == list(range(len(sample)))
        mine = packed.owner == index
        assert packed.targets[mine].tolist() == list(sample.completion)
        assert ids[packed.scored[mine] + 1].tolist() == list(sample.completion)
        start += len(sample)


def test_dropout_keys_are_a_samples_own():
    samples = random_samples(4)
    together = packing.pack(samples, seed=1, epoch=2).row_keys
    apart = torch.cat([packing.pack([sample], seed=1, epoch=2).row_keys for sample in samples])
    assert torch.equal(together, apart)
    assert not torch.equal(together, packing.pack(samples, seed=1, epoch=3).row_keys)


def test_an_epochs_order_is_a_seeded_permutation():
    first = packing.epoch_order(50, 3, 0)
    assert sorted(first) == list(range(50)) and first == packing.epoch_order(50, 3, 0)
    assert first != packing.epoch_order(50, 3, 1) and first != packing.epoch_order(50, 4, 0)


def row(text):
    return {"sample_id": "one", "text": text, "label": "J069", "description": "cold"}


@pytest.mark.parametrize("template", TEMPLATES)  # SmolLM2's and Qwen's are ChatML
def test_the_completion_is_the_answer_with_its_end_token(template):
    tokenizer = byte_tokenizer(template)
    prompter = Prompter(tokenizer, PromptText(system="Code.", user="{{ text }}", answer="code", max_tokens=300))
    sample = sample_encoder(prompter, AnswerWriter("code"))([row("a cough")])[0]
    end = tokenizer.convert_tokens_to_ids(
        {"llama3": "<|eot_id|>", "chatml": "<|im_end|>", "mistral": "</s>", "gemma": "<end_of_turn>"}[template]
    )
    assert sample.completion[-1] == end
    assert tokenizer.decode(sample.completion[:-1]).strip() == "J069"
    assert "J069" not in tokenizer.decode(sample.prompt)


def test_a_truncated_dialogue_keeps_instruction_and_answer_and_says_so():
    tokenizer = byte_tokenizer("chatml")
    text = PromptText(system="Code it now.", user="{{ text }} Which code?", answer="code", max_tokens=120)
    sample = sample_encoder(Prompter(tokenizer, text), AnswerWriter("code"))([row("x" * 500)])[0]
    read = tokenizer.decode(sample.prompt)
    assert sample.truncated and len(sample.prompt) <= 120
    assert "Code it now." in read and "Which code?" in read
    assert tokenizer.decode(sample.completion).startswith("J069")


class _NoEnd:
    end_ids = (9,)

    def prompts(self, texts):
        return Prompter(
            byte_tokenizer(), PromptText(system="", user="{{ text }}", answer="code", max_tokens=99)
        ).prompts(texts)

    def completion_of(self, lines):
        return [1, 2]


def test_an_answer_without_an_end_is_an_error():
    with pytest.raises(StudyError, match=r"sample one.*end-of-turn"):
        sample_encoder(_NoEnd(), AnswerWriter("code"))([row("text")])


def test_lengths_of_prompts_leave_the_completion_out():
    samples = [packing.Sample(str(n), tuple(range(n)), (1, 2), truncated=False) for n in (3, 5, 9)]
    assert packing.prompt_lengths(samples) == {"median": 5, "q99": 9, "max": 9}
