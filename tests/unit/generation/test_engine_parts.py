"""The program that measures what each part of the engine buys leaves the part out, and nothing else."""

import sys
from pathlib import Path

import pytest

from slingshot.generation.generate import generate
from slingshot.generation.types import Decoding, GenerationStats, Memory
from tests.unit.tiny_models import tiny_model

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from engine_parts import PARTS_OF_ANSWERING, present, with_and_without

PROMPTS = [[3, 5, 8, 13, 21], [2, 7, 1, 8, 2, 8, 1]]


def answers_within(change):
    stats = GenerationStats()
    with change():
        answers = {}
        for group in generate(tiny_model("llama"), PROMPTS, Decoding(4, (0,)), Memory(), stats):
            answers |= {index: answer.ids for index, answer in group.items()}
    return answers, stats.notes


@pytest.mark.parametrize("name", PARTS_OF_ANSWERING)
def test_answers_without_a_part_are_packed_and_the_same(name):
    assert f"without {name}" in dict(with_and_without(PARTS_OF_ANSWERING))
    answers, notes = answers_within(PARTS_OF_ANSWERING[name])
    assert notes == []
    assert answers == answers_within(present)[0]
