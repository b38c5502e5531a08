"""ask.py where samples have several labels."""

from __future__ import annotations

import json
import math
import sys

import ask
from slingshot.artifacts.predictions import read_predictions
from slingshot.config.specs import AnswerSet
from tests.splits import write_split
from tests.unit.endpoints.conftest import LABELS, TEXTS, arguments_of, spec_of
from tests.unit.endpoints.stub import completion, text_of


def test_sets_are_asked_for_as_lists_and_ranked_label_by_label(folder, stubs, monkeypatch):
    sets = [["L237", "J020"], ["J020"], ["K259", "M545"], [], ["M545"]]
    write_split(folder / "test.parquet", TEXTS, LABELS, sets)
    write_split(folder / "train.parquet", [f"train {text}" for text in TEXTS], LABELS, sets)

    def script(body, count):
        truth = sets[TEXTS.index(text_of(body))]
        if "response_format" in body:
            listed = json.dumps({"answers": [*truth, *truth[:1]]})  # no schema keeps a repeat out
            token = {"token": listed, "logprob": math.log(0.8), "top_logprobs": []}
            return completion(listed, choice={"logprobs": {"content": [token]}})
        return completion("\n".join(truth) or "none")

    stub = stubs(script)
    spec = spec_of(stub.url, generation={"constrained": True, "candidates": 3, "max_new_tokens": 20}, k=2)
    several = AnswerSet(order="code", empty=True)
    spec = spec.model_copy(update={"prompt": spec.prompt.model_copy(update={"several": several})})
    monkeypatch.setattr(sys, "argv", arguments_of(folder, spec))
    ask.main()
    found = read_predictions(folder / "p.jsonl")
    assert (
        [one.labels for one in found]
        == [one.codes for one in found]
        == [one.constrained_codes for one in found]
        == sets
    )
    assert [sorted(each.code for each in one.candidates) for one in found] == [sorted(truth) for truth in sets]
    examples = [message["content"] for message in stub.requests[0]["messages"] if message["role"] == "assistant"]
    assert len(examples) == 2 and set(examples) <= {"\n".join(sorted(each)) or "none" for each in sets}
