"""Packed generation says what transformers' generate says for each prompt alone."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from transformers import GenerationConfig

from slingshot.generation import packed, padded
from slingshot.generation.answer_trie import build_trie
from slingshot.generation.engine import Sizes
from slingshot.generation.generate import generate
from slingshot.generation.padded import generate_padded
from slingshot.generation.types import Decoding, GenerationStats, Memory, until_end
from slingshot.nn import cached_attention
from tests.unit.tiny_models import FAMILIES, tiny_model

END = 2


def make_prompts(count=7, shared=0, seed=3):
    draw = random.Random(seed)
    beginning = [draw.randrange(3, 97) for _ in range(shared)]
    return [beginning + [draw.randrange(3, 97) for _ in range(draw.randrange(2, 40))] for _ in range(count)]


def one_at_a_time(model, prompts, steps):
    settings = GenerationConfig(max_new_tokens=steps, do_sample=False, eos_token_id=END, pad_token_id=0)
    answers = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        answers.append(until_end(out[0, len(prompt) :].tolist(), (END,))[0])
    return answers


def run(model, prompts, decoding, token_budget=None):
    report = GenerationStats()
    answers = {}
    for group in generate(model, prompts, decoding, Memory(token_budget), report):
        answers.update(group)
    return [answers[index] for index in range(len(prompts))], report


@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_generate_one_at_a_time(family, shared):
    prompts = make_prompts(shared=shared)
    expected = one_at_a_time(tiny_model(family), prompts, 6)
    answers, report = run(tiny_model(family), prompts, Decoding(6, (END,)))
    assert [answer.ids for answer in answers] == expected
    assert {"check", "prefill"} <= set(report.seconds) and not report.notes
    assert len({tuple(ids) for ids in expected}) > 3  # the prompts do matter


@pytest.mark.parametrize("budget", [5, 33, 64])
def test_answers_do_not_depend_on_budget_or_neighbours(budget):
    prompts = make_prompts(12, shared=18)
    expected = one_at_a_time(tiny_model("qwen2"), prompts, 5)
    answers, report = run(tiny_model("qwen2"), prompts[::-1], Decoding(5, (END,)), budget)
    assert [answer.ids for answer in answers[::-1]] == expected
    assert report.token_budget == budget


def test_rows_end_on_their_own_and_small_groups_leave_rows_idle(monkeypatch):
    model = tiny_model("llama")
    prompts = make_prompts(11)
    free = one_at_a_time(model, prompts, 8)
    ends = tuple({ids[2] for ids in free[::2]})  # makes some prompts end early
    small = Sizes(row_tokens=64, pool_rows=130, most_prompts=4)
    monkeypatch.setattr("slingshot.generation.packed._ON_CPU", small)
    answers, report = run(model, prompts, Decoding(8, ends))
    expected = [until_end(ids, ends) for ids in free]
    assert [(answer.ids, answer.new_tokens) for answer in answers] == expected
    assert report.batches > 2
    assert len({answer.new_tokens for answer in answers}) > 1


def test_the_model_is_left_as_it_was():
    model = tiny_model("llama")
    prompts = make_prompts(3)
    first, _ = run(model, prompts, Decoding(4, (END,)))
    assert one_at_a_time(model, prompts, 4) == [answer.ids for answer in first]
    again, report = run(model, prompts, Decoding(4, (END,)))
    assert again == first and not report.notes


def test_plain_answers_are_greedy_whatever_the_models_own_settings_say():
    model, prompts = tiny_model("llama"), make_prompts()

    def answers():
        found = {}
        for group in generate_padded(model, prompts, Decoding(6, (END,)), Memory(), GenerationStats()):
            found.update(group)
        return [found[index].ids for index in range(len(prompts))]

    expected = answers()
    model.generation_config.repetition_penalty = 9.0
    model.generation_config.do_sample = True
    assert answers() == expected
    assert model.generation_config.repetition_penalty == 9.0


def test_plain_generate_gives_the_same():
    model = tiny_model("llama")
    prompts = make_prompts(9)
    expected = one_at_a_time(model, prompts, 6)
    report = GenerationStats()
    answers = {}
    for group in generate_padded(model, prompts, Decoding(6, (END,)), Memory(90), report):
        answers.update(group)
    assert [answers[index].ids for index in range(9)] == expected
    assert report.batches > 1


def all_labels():
    draw = random.Random(1)
    answers = {tuple(draw.choices(range(3, 12), k=draw.randrange(1, 4))) for _ in range(60)}
    answers |= {(5,), (5, 6), (5, 6, 7)}  # each the beginning of the next
    return {f"L{number}": [*ids, END] for number, ids in enumerate(sorted(answers))}


@torch.inference_mode()
def scores_of(model, prompt, labels):
    """Every label's log-probability by a plain forward pass over each whole text."""
    longest = max(map(len, labels.values()))
    rows = [[*prompt, *ids, *[0] * (longest - len(ids))] for ids in labels.values()]
    log_probs = model(torch.tensor(rows)).logits.log_softmax(-1)  # what stands behind an answer cannot change it
    return {
        label: sum(float(log_probs[row, len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
        for row, (label, ids) in enumerate(labels.items())
    }


@torch.inference_mode()
def greedy_among(model, prompt, labels):
    path = []
    while True:
        allowed = {ids[len(path)]: label for label, ids in labels.items() if ids[: len(path)] == path}
        logits = model(torch.tensor([[*prompt, *path]])).logits[0, -1]
        path.append(max(allowed, key=lambda token: float(logits[token])))
        if path[-1] == END:
            return allowed[END]


@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
@pytest.mark.parametrize("shared", [0, 20])
def test_constrained_and_candidates(family, shared):
    model = tiny_model(family)
    labels = all_labels()
    prompts = make_prompts(6, shared)
    expected = [greedy_among(model, prompt, labels) for prompt in prompts]
    scores = [scores_of(model, prompt, labels) for prompt in prompts]
    trie = build_trie(list(labels), list(labels.values()), [END])
    decoding = Decoding(4, (END,), free=False, constrained=True, candidates=5, trie=trie)
    answers, report = run(model, prompts, decoding)
    assert [answer.constrained for answer in answers] == expected
    for answer, score in zip(answers, scores, strict=True):
        best = sorted(score, key=score.__getitem__, reverse=True)[:5]
        assert [label for label, _ in answer.candidates] == best
        assert [value for _, value in answer.candidates] == pytest.approx([score[label] for label in best], abs=1e-4)
    assert report.inexact_candidates == 0 or len(labels) > 16


def test_candidates_of_a_small_set_are_exact_and_plain_agrees():
    model = tiny_model("llama")
    labels = dict(itertools.islice(all_labels().items(), 12))
    trie = build_trie(list(labels), list(labels.values()), [END])
    prompts = make_prompts(4)
    decoding = Decoding(4, (END,), constrained=True, candidates=20, trie=trie)
    plain = {}
    for group in generate_padded(model, prompts, decoding, Memory(), GenerationStats()):
        plain.update(group)
    packed, report = run(model, prompts, decoding)
    assert report.inexact_candidates == 0
    for index, answer in enumerate(packed):
        assert answer.ids == plain[index].ids
        assert answer.constrained == plain[index].constrained
        assert [label for label, _ in answer.candidates] == [label for label, _ in plain[index].candidates]
        assert len(answer.candidates) == 12
        assert sum(2.718281828**value for _, value in answer.candidates) <= 1


def test_a_model_that_packing_gets_wrong_falls_back_with_a_note():
    model = tiny_model("llama")
    head = model.lm_head
    model.lm_head = torch.nn.Linear(32, 97, bias=False)  # what the model's own forward does is not what packing reads
    prompts = make_prompts(4)
    model.get_output_embeddings = lambda: head
    expected = one_at_a_time(model, prompts, 4)
    answers, report = run(model, prompts, Decoding(4, (END,)))
    assert [answer.ids for answer in answers] == expected
    assert any("slower, padded way" in note for note in report.notes)


@pytest.mark.parametrize("fault", ["window", "prefix"])
def test_a_window_or_a_shared_beginning_got_wrong_falls_back_with_a_note(monkeypatch, fault):
    model = tiny_model("mistral", sliding_window=60)
    draw = random.Random(4)
    prompts = [[*range(3, 23), *(draw.randrange(3, 97) for _ in range(length))] for length in (20, 25, 70)]
    expected = one_at_a_time(model, prompts, 4)
    if fault == "window":
        attend = cached_attention._reference
        monkeypatch.setattr(
            cached_attention,
            "_reference",
            lambda query, keys, values, step, scale, window, softcap: attend(
                query, keys, values, step, scale, None, softcap
            ),
        )
    else:
        monkeypatch.setattr(
            "slingshot.generation.prefill._repeated", lambda part, times: part.new_zeros(times * len(part), 2, 8)
        )
    answers, report = run(model, prompts, Decoding(4, (END,)))
    assert [answer.ids for answer in answers] == expected
    assert any("slower, padded way: its logits" in note for note in report.notes)


def test_a_family_without_exchangeable_attention_falls_back_with_a_note():
    model = tiny_model("llama")
    type(model)._supports_attention_backend, kept = False, type(model)._supports_attention_backend
    try:
        _, report = run(model, make_prompts(2), Decoding(2, (END,)))
    finally:
        type(model)._supports_attention_backend = kept
    assert report.notes == ["LlamaForCausalLM takes the slower, padded way: its attention cannot be replaced"]


def test_a_rotary_embedding_that_looks_at_the_batch_is_kept_from_seeing_one():
    rope = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10_000.0}
    changed = {"rope_parameters": rope, "max_position_embeddings": 24}
    prompts = make_prompts(6)
    assert min(map(len, prompts)) < 20 < max(map(len, prompts))
    expected = [one_at_a_time(tiny_model("llama", **changed), [prompt], 4)[0] for prompt in prompts]
    answers, report = run(tiny_model("llama", **changed), prompts, Decoding(4, (END,)))
    assert [answer.ids for answer in answers] == expected
    assert report.batches == 6 and "rotary" in report.notes[0]


@pytest.mark.parametrize("way", ["packed", "plain"])
def test_out_of_memory_halves_and_goes_on(monkeypatch, way):
    model = tiny_model("llama")
    prompts = make_prompts(9)
    expected = one_at_a_time(model, prompts, 4)
    name = "_packed_group" if way == "packed" else "_plain_batch"
    module = packed if way == "packed" else padded
    real, failures = getattr(module, name), [True, True]

    def scarce(*arguments):
        if failures and failures.pop():
            raise torch.OutOfMemoryError("no memory")
        return real(*arguments)

    monkeypatch.setattr(module, name, scarce)
    if way == "packed":
        answers, report = run(model, prompts, Decoding(4, (END,)), 512)
    else:
        report = GenerationStats()
        merged = {}
        for group in generate_padded(model, prompts, Decoding(4, (END,)), Memory(512), report):
            merged.update(group)
        answers = [merged[index] for index in range(9)]
    assert [answer.ids for answer in answers] == expected
    assert sum("out of memory" in note for note in report.notes) == 2
    assert report.token_budget == 128
