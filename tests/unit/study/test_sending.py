"""What a dry run says of texts that go to endpoints."""

from __future__ import annotations

import pytest

from slingshot.config.study import parse_study
from slingshot.core.files import write_json
from slingshot.study import estimate
from slingshot.study.estimate import Job
from slingshot.study.sending import describe_sending

GPT = {
    "source": {"api": "https://api.example.org/v1", "model": "big-1", "sends_texts": True},
    "prices": {"input": 2.5, "output": 10},
    "generation": {"max_new_tokens": 20},
}
LOCAL = {"source": {"api": "http://127.0.0.1:8000/v1", "model": "llama"}, "size": "70B"}


@pytest.fixture(autouse=True)
def short_instruction(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A prompt that is its dialogue alone, so that the figures below are round."""
    if "instruction" not in request.node.name:
        monkeypatch.setattr(estimate, "instruction_words", lambda *_: 0)


def study(**designs):
    config = {"data": {"source": {"path": "x.csv"}}, "llm": {"gpt": GPT, "llama": LOCAL}, "slm": {}, "designs": designs}
    return parse_study(config)


@pytest.fixture
def results(tmp_path):
    splits = {
        name: {"samples": count, "words": {"mean": 1000}}
        for name, count in {"train": 800, "validation": 100, "test": 200}.items()
    }
    write_json(tmp_path / "data/dataset.json", {"splits": splits, "test_sets": {"clinic": {"samples": 30}}})
    return tmp_path


def test_texts_tokens_place_and_cost(results):
    output = describe_sending(study(), [Job("ask", "llm/gpt"), Job("ask_validation", "llm/llama")], results)
    assert (
        "llm/gpt: 200 texts of the test split in 200 requests, about 270,000 tokens, to https://api.example.org/v1 "
        "(big-1; another machine); about 0.68 USD for these and up to 0.04 for 4,000 tokens of answers" in output
    )
    assert (
        "llm/llama: 100 texts of the validation split in 100 requests, about 135,000 tokens, to http://127.0.0.1:8000/v1"
        in output
    )
    assert "(llama; this machine); no prices are set, so the cost is not known" in output


def test_thinking_is_paid_for_too(results):
    thinking = {**GPT, "generation": {"max_new_tokens": 20, "thinking": True, "thinking_tokens": 480}}
    config = {"data": {"source": {"path": "x.csv"}}, "llm": {"gpt": thinking}, "slm": {}}
    output = describe_sending(parse_study(config), [Job("ask", "llm/gpt")], results)
    assert "up to 1.00 for 100,000 tokens of answers" in output


def test_examples_are_texts_that_leave_too(results):
    few = study(few_shot={"models": ["gpt"], "k": [3]})
    output = describe_sending(few, [Job("ask", "llm/gpt/shots3")], results)
    assert "200 texts of the test split in 200 requests, each with 3 of train, about 1,080,000 tokens" in output


def test_a_further_test_set_is_sent_too(results):
    output = describe_sending(study(), [Job("ask_test_set", "llm/gpt", "clinic")], results)
    assert "llm/gpt: 30 texts of clinic in 30 requests" in output


def test_without_data_the_place_is_said_all_the_same(tmp_path):
    output = describe_sending(study(), [Job("ask", "llm/gpt")], tmp_path)
    assert "llm/gpt: the test split to https://api.example.org/v1 (big-1; another machine)" in output
    assert "known after `snakemake data`" in output


def test_where_nothing_is_sent_nothing_is_said(results):
    assert describe_sending(study(), [Job("predict", "llm/gpt")], results) == ""


@pytest.mark.parametrize("value", ["", " ", "secret"])
def test_a_key_that_is_not_there_is_said_before_anything_runs(results, monkeypatch, value):
    monkeypatch.setenv("EXAMPLE_KEY", value)
    gpt = GPT | {"source": GPT["source"] | {"key_env": "EXAMPLE_KEY"}}
    config = parse_study({"data": {"source": {"path": "x.csv"}}, "llm": {"gpt": gpt}, "slm": {}})
    output = describe_sending(config, [Job("ask", "llm/gpt"), Job("ask_validation", "llm/gpt")], results)
    assert output.count("The environment variable EXAMPLE_KEY is empty here: export it first.") == (not value.strip())
    assert "secret" not in output
