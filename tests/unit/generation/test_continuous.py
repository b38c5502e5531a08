"""Places that are passed on: the same answers as one at a time, in fewer steps; thoughts before answers."""

from __future__ import annotations

import random

import pytest

from slingshot.generation import continuous, packed
from slingshot.generation.answer_trie import build_trie
from slingshot.generation.engine import Sizes
from slingshot.generation.generate import generate
from slingshot.generation.thinking import Thinking, generate_after_thinking
from slingshot.generation.types import Decoding, GenerationStats, Memory, until_end
from tests.unit.generation.test_generate import END, make_prompts, one_at_a_time
from tests.unit.tiny_models import tiny_model

STEPS = 20


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(packed, "LONG", STEPS)
    monkeypatch.setattr(packed, "_ON_CPU", Sizes(row_tokens=64, pool_rows=200, most_prompts=4))


def ends_of(free):
    """Some answers end early, some late, some never."""
    draw = random.Random(5)
    return tuple({END, *(ids[draw.randrange(2, 12) % len(ids)] for ids in free[::3] if ids)})


@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_answers_do_not_depend_on_whose_place_they_take(family, shared, small, monkeypatch):
    prompts = make_prompts(13, shared=shared)
    free = one_at_a_time(tiny_model(family), prompts, STEPS)
    ends = ends_of(free)
    started = []
    monkeypatch.setattr(
        continuous, "start_rows", lambda *given, start=continuous.start_rows: (started.append(given[2]), start(*given))
    )
    stats, answers, orders = GenerationStats(), {}, []
    for some in generate(tiny_model(family), prompts, Decoding(STEPS, ends), Memory(), stats):
        orders.append(sorted(some))
        answers.update(some)
    expected = [until_end(ids, ends) for ids in free]
    assert [(answers[index].ids, answers[index].new_tokens) for index in range(len(prompts))] == expected
    assert len({count for _, count in expected}) > 3
    assert len(started) > 3 and any(len(places) < 4 for places in started)  # places are passed on one by one
    assert sum(map(len, orders)) == len(prompts)


def test_an_answer_stands_after_its_thought(small):
    model, prompts = tiny_model("llama"), make_prompts(6)
    free = one_at_a_time(model, prompts, STEPS)
    close = free[0][3]
    lead = (close, 5)
    trie = build_trie(["a", "b"], [[9, END], [11, END]], [END])
    decoding = Decoding(4, (END,), constrained=True, trie=trie)
    found = {}
    for some in generate_after_thinking(
        model, prompts, decoding, Thinking(8, close, lead), Memory(), GenerationStats()
    ):
        found.update(some)
    for index, prompt in enumerate(prompts):
        thought, count = until_end(one_at_a_time(model, [prompt], 8)[0], (END, close))
        answer = found[index]
        assert answer.thought == thought and len(thought) <= 8 and answer.prompt_tokens == len(prompt)
        (expected,) = one_at_a_time(model, [[*prompt, *thought, *lead]], 4)
        assert answer.ids == expected
        assert answer.new_tokens >= count + len(expected)
        assert answer.constrained in ("a", "b")
    lengths = {len(answer.thought) for answer in found.values()}
    assert 8 in lengths and len(lengths) > 1  # some are closed by their budget, some by themselves
