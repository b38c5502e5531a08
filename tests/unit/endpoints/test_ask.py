"""ask.py against an endpoint that misbehaves: nothing is lost, asked twice, or counted as an answer that is none."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slingshot.core.errors import StudyError
from tests.splits import write_split
from tests.unit.endpoints.conftest import LABELS, TEXTS, arguments_of, spec_of
from tests.unit.endpoints.stub import DROP, HALF, Error, Stub, completion, text_of

ROOT = Path(__file__).parents[3]


def right(body, count):
    return completion(list(LABELS)[TEXTS.index(text_of(body)) % 4])


def first_then(trouble, script=right):
    return lambda body, count: script(body, count) if count else trouble


def test_every_sample_is_answered_in_the_splits_order(run):
    done = run(right)
    assert [one.code for one in done.predictions] == [one.label for one in done.predictions]
    assert [one.sample_id for one in done.predictions] == [f"{number:016x}" for number in range(5)]
    first = json.loads(done.content.splitlines()[0])
    assert first["finish_reason"] == "stop" and first["thinking_tokens"] == 2
    assert "refusal" not in first and "error" not in first and "thinking" not in first


def test_the_record_says_what_was_used_and_what_answered(run):
    use = run(right).record.endpoint
    assert (use.prompt_tokens, use.cached_tokens, use.completion_tokens, use.thinking_tokens) == (500, 200, 25, 10)
    assert use.models == {"big-1-2026": 5} and use.fingerprints == {"fp_1": 5} and use.finish_reasons == {"stop": 5}
    assert use.requests == 5 and use.retries == {} and use.errors == {} and use.refusals == 0
    assert use.first_answer <= use.last_answer and 0 < use.latency_median <= use.latency_q95


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (Error(429), "429"),
        (Error(500), "500"),
        (Error(503), "503"),
        (DROP, "connection"),
        (HALF, "connection"),
        ("{not json", "malformed reply"),
        ('"words"', "malformed reply"),
        ("[]", "malformed reply"),
        ({"choices": []}, "malformed reply"),
        (completion(None), "malformed reply"),
        (completion(message={"content": 7}), "malformed reply"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_may_pass_is_tried_again(run, trouble, kind):
    done = run(first_then(trouble))
    assert all(one.code == one.label and one.error is None for one in done.predictions)
    assert done.record.endpoint.retries == {kind: 5} and done.record.endpoint.requests == 10


def test_a_slow_answer_is_asked_for_again(run):
    def slow(body, count):
        if not count:
            time.sleep(1.0)
        return right(body, count)

    done = run(slow, "--timeout-seconds", "0.3")
    assert done.record.endpoint.retries == {"time-out": 5}
    assert all(one.code == one.label for one in done.predictions)


def test_the_endpoint_says_how_long_to_wait(run, stubs):
    stub = stubs(first_then(Error(429, Retry_After="0.5")))
    run(stub, "--at-once", "1")
    assert stub.times[1] - stub.times[0] >= 0.5


def test_requests_at_once_and_per_minute_are_limited(run, stubs):
    def slowly(body, count):
        time.sleep(0.05)
        return right(body, count)

    stub = stubs(slowly)
    run(stub, "--at-once", "2")
    assert stub.most_at_once == 2
    paced = stubs(right)
    run(paced, "--per-minute", "300")
    assert paced.times[-1] - paced.times[0] >= 0.6  # five requests go out 0.2 s apart


def test_an_answer_is_kept_and_not_asked_for_again(run, stubs):
    stub = stubs(right)
    first = run(stub)
    again = run(stub)
    assert len(stub.requests) == 5 and again.content == first.content
    assert again.record.cached_samples == 5 and again.record.fresh_tokens == 0
    assert again.record.endpoint.requests == 0
    assert again.record.endpoint.prompt_tokens == 500  # what the answers took, whenever they came
    assert any("not bytes that come again" in note for note in again.record.notes)
    run(stub, "--force")
    assert len(stub.requests) == 10


def test_other_parameters_are_another_question(run, stubs):
    stub = stubs(right)
    run(stub)
    run(stub, source={"parameters": {"reasoning_effort": "low"}})
    assert len(stub.requests) == 10
    assert stub.requests[-1]["reasoning_effort"] == "low" and stub.requests[-1]["temperature"] == 0


def test_equal_dialogues_are_sent_once(run, stubs, folder):
    write_split(folder / "test.parquet", [TEXTS[0], TEXTS[1], TEXTS[0]], LABELS)
    stub = stubs(right)
    done = run(stub)
    assert len(stub.requests) == 2 and len(done.predictions) == 3
    assert done.predictions[2].raw == done.predictions[0].raw


def test_a_refusal_is_counted_shown_and_not_kept(run, stubs):
    def refusing(body, count):
        if text_of(body) == TEXTS[1]:
            return completion(None, message={"refusal": "I can't help with that. J020"})
        if text_of(body) == TEXTS[2]:
            return Error(400, "blocked by policy", code="content_filter")
        return right(body, count)

    stub = stubs(refusing)
    done = run(stub)
    assert done.predictions[1].refusal == "I can't help with that. J020" and done.predictions[1].code is None
    assert done.predictions[2].refusal == "blocked by policy"
    assert done.predictions[2].finish_reason == "content_filter"
    assert done.record.endpoint.refusals == 2 and done.record.endpoint.errors == {}
    run(stub)
    assert len(stub.requests) == 7


def test_empty_answers_are_kept_and_said(run, stubs, caplog):
    script = lambda body, count: completion("") if text_of(body) == TEXTS[0] else right(body, count)  # noqa: E731
    note = "1 of 5 answers came empty: they are kept and count as wrong"
    caplog.set_level("INFO")
    assert note in run(script).record.notes and note in caplog.text
    assert note in run(script).record.notes and not stubs(script).requests


def test_errors_are_counted_shown_and_not_kept(run, stubs):
    broken = {TEXTS[1]: Error(500, "broken"), TEXTS[2]: Error(400, "bad words")}
    stub = stubs(lambda body, count: broken.get(text_of(body)) or right(body, count))
    done = run(stub, "--retries", "1", "--allowed-errors", "0.5")
    assert done.predictions[1].error == "500: broken" and done.predictions[1].code is None
    assert done.predictions[2].error == "400: bad words"
    assert done.record.endpoint.errors == {"400": 1, "500": 1}
    broken.clear()
    again = run(stub)
    assert len(stub.requests) == 3 + 2 + 1 + 2
    assert all(one.code == one.label for one in again.predictions)


def test_more_errors_than_allowed_stop_the_step_and_keep_the_answers(run, stubs):
    broken = {TEXTS[1]: Error(500, "broken")}
    stub = stubs(lambda body, count: broken.get(text_of(body)) or right(body, count))
    with pytest.raises(
        StudyError, match=r"no answer to 1 of 5 samples after 2 tries each \(500 1 times; last: broken\)"
    ):
        run(stub, "--retries", "1", "--at-once", "1")
    kept = {text_of(body) for body in stub.requests} - {TEXTS[1]}
    assert TEXTS[0] in kept
    broken.clear()
    assert run(stub).record.cached_samples >= len(kept) - 1  # one may have been on its way


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Error(401, "Incorrect key: {authorization}"), r"refuses the key .*check the variable STUB_KEY"),
        (Error(403), "refuses the key"),
        (Error(404, "no such model"), r"is not there .*correct source.api or source.model"),
        (Error(429, code="insufficient_quota"), "gives no more answers"),
        (Error(307, Location="http://127.0.0.2:9/v1/chat/completions"), "redirects elsewhere"),
    ],
    ids=["401", "403", "404", "quota", "redirect"],
)
def test_what_no_repetition_helps_stops_at_once(run, stubs, monkeypatch, error, message):
    monkeypatch.setenv("STUB_KEY", "sk-very-secret-1234")
    stub = stubs(lambda *_: error)
    with pytest.raises(StudyError, match=message) as raised:
        run(stub, "--at-once", "1", source={"key_env": "STUB_KEY"})
    assert len(stub.requests) == 1
    assert "secret" not in str(raised.value)


def test_fields_that_an_endpoint_refuses_are_left_out_and_named(run, stubs):
    def picky(body, count):
        if "max_tokens" in body:
            return Error(400, "Use 'max_completion_tokens' instead.", param="max_tokens")
        if "temperature" in body:
            return Error(400, "Unsupported value: 'temperature'", param="temperature")
        return right(body, count)

    stub = stubs(picky)
    done = run(stub, "--at-once", "1")
    assert all(one.code == one.label for one in done.predictions)
    assert len(stub.requests) == 7 and stub.requests[-1]["max_completion_tokens"] == 8
    assert "the endpoint takes no max_tokens, temperature: asked without" in done.record.notes


def test_a_dialogue_too_long_for_the_window_loses_its_middle(run, stubs, folder):
    write_split(folder / "test.parquet", ["begin " + "word " * 200 + "end", TEXTS[1]], LABELS)

    def narrow(body, count):
        if len(text_of(body)) > 600:
            return Error(400, "This model's maximum context length is 8192 tokens", code="context_length_exceeded")
        return completion()

    stub = stubs(narrow)
    done = run(stub)
    assert [one.truncated for one in done.predictions] == [True, False]
    assert done.record.truncated_samples == 1
    sent = max((text_of(body) for body in stub.requests if len(text_of(body)) <= 600), key=len)
    assert sent.startswith("begin") and sent.endswith("end") and " [...] " in sent


@pytest.mark.parametrize(
    "reply",
    [
        completion("L237", message={"reasoning_content": "A rash: J020?"}),
        completion("L237", message={"reasoning": "A rash: J020?"}),
        completion("<think>\nA rash: J020?\n</think>\n\nL237"),
    ],
    ids=["reasoning_content", "reasoning", "think"],
)
def test_thinking_is_kept_apart_from_the_answer(run, reply):
    done = run(lambda *_: reply)
    assert (done.predictions[0].thinking, done.predictions[0].raw) == ("A rash: J020?", "L237")
    assert done.predictions[0].code == "L237"


def test_thinking_that_took_all_tokens_is_no_answer_and_the_record_says_so(run):
    done = run(lambda *_: completion(None, choice={"finish_reason": "length"}))
    assert done.predictions[0].raw == "" and done.predictions[0].finish_reason == "length"
    assert any("5 of them before anything was said, while thinking" in note for note in done.record.notes)


def listed(body, count):
    """An endpoint that obeys the schema and gives log-probabilities."""
    if "response_format" not in body:
        return right(body, count)
    label = list(LABELS)[TEXTS.index(text_of(body)) % 4]
    other = next(each for each in LABELS if each != label)
    letters = [
        ('{"answer": "', 0.0, []),
        (label[0], math.log(0.6), [(label[0], math.log(0.6)), (other[0], math.log(0.3))]),
    ]
    letters += [(label[1:], math.log(0.5), []), ('"}', 0.0, [])]
    tokens = [
        {"token": text, "logprob": value, "bytes": None, "top_logprobs": [
            {"token": one, "logprob": chance, "bytes": None} for one, chance in others
        ]}
        for text, value, others in letters
    ]  # fmt: skip
    probabilities = {"content": tokens} if body.get("logprobs") else None
    return completion(json.dumps({"answer": label}), choice={"logprobs": probabilities})


def test_constrained_answers_come_by_a_schema_and_candidates_by_log_probabilities(run, stubs):
    stub = stubs(listed)
    done = run(stub, generation={"constrained": True, "candidates": 3})
    assert [one.constrained_code for one in done.predictions] == [one.label for one in done.predictions]
    best, second = done.predictions[0].candidates
    assert (best.code, second.code) == ("J020", "L237")
    assert best.log_probability == pytest.approx(math.log(0.3), abs=1e-6)
    assert second.log_probability == pytest.approx(math.log(0.3), abs=1e-6)
    schema = next(body["response_format"] for body in stub.requests if "response_format" in body)
    assert schema["json_schema"]["schema"]["properties"]["answer"]["enum"] == sorted(LABELS)
    assert done.record.endpoint.not_possible == []
    assert done.record.endpoint.prompt_tokens == 1000


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda body, count: Error(400, "response_format is not supported") if "response_format" in body
         else right(body, count), "takes no such schema"),
        (right, "ignored the schema"),
    ],
    ids=["refused", "ignored"],
)  # fmt: skip
def test_an_endpoint_without_schemas_is_said_so(run, script, message):
    done = run(script, generation={"constrained": True, "candidates": 3})
    assert all(one.constrained_code is None and not one.candidates for one in done.predictions)
    assert all(one.code == one.label for one in done.predictions)
    assert any(message in note for note in done.record.endpoint.not_possible)
    assert any(message in note for note in done.record.notes)


def test_candidates_need_log_probabilities(run):
    def silent(body, count):
        return listed({name: value for name, value in body.items() if name != "logprobs"}, count)

    done = run(silent, generation={"constrained": True, "candidates": 3})
    assert all(one.constrained_code == one.label and not one.candidates for one in done.predictions)
    assert any("0 of 5 answers came with log-probabilities" in note for note in done.record.endpoint.not_possible)


def test_examples_are_turns_of_the_chat(run, stubs):
    stub = stubs(right)
    run(stub, k=2)
    roles = [message["role"] for message in stub.requests[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]


def test_the_key_is_sent_and_written_nowhere(stubs, folder):
    """As a program: its log, its files, its arguments."""
    key = "sk-very-secret-1234"
    stub = stubs(lambda body, count: right(body, count) if count else Error(500, "you sent {authorization}"))
    spec = spec_of(stub.url, {"key_env": "STUB_KEY"})
    command = [sys.executable, str(ROOT / "scripts" / "ask.py"), *arguments_of(folder, spec)[1:]]
    strange = {"OPENAI_API_KEY": "sk-other-1", "OPENAI_ADMIN_KEY": "sk-other-2", "OPENAI_ORG_ID": "org-other",
               "OPENAI_PROJECT_ID": "proj-other", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
               "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}  # fmt: skip
    done = subprocess.run(
        command, env={**os.environ, **strange, "STUB_KEY": key}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert {headers["authorization"] for headers in stub.headers} == {f"Bearer {key}"}
    assert not any("other" in value for headers in stub.headers for value in headers.values())
    assert key not in done.stdout + done.stderr + " ".join(command)
    for path in folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


def test_without_its_key_nothing_is_sent(run, stubs, monkeypatch):
    monkeypatch.delenv("STUB_KEY", raising=False)
    stub = stubs(right)
    with pytest.raises(StudyError, match="the environment variable STUB_KEY is empty"):
        run(stub, source={"key_env": "STUB_KEY"})
    assert stub.requests == []


def test_a_killed_run_goes_on_where_it_was(stubs, folder, run):
    """Killed without a chance to tidy up, while the third answer is awaited."""

    def stuck(body, count):
        if TEXTS.index(text_of(body)) == 2 and not count:
            time.sleep(30)
        return right(body, count)

    stub: Stub = stubs(stuck)
    command = [sys.executable, str(ROOT / "scripts" / "ask.py"), *arguments_of(folder, spec_of(stub.url))[1:]]
    process = subprocess.Popen([*command, "--at-once", "1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 40
    while len(stub.requests) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(stub.requests) == 3 and not (folder / "p.jsonl").exists()
    done = run(stub)
    assert done.record.cached_samples == 2 and len(stub.requests) == 6
    assert all(one.code == one.label for one in done.predictions)


def test_no_torch_is_imported():
    code = (
        "import sys; sys.path.insert(0, 'scripts'); import ask, slingshot.endpoints.ask, openai; "
        "sys.exit(sorted(name for name in ('torch', 'transformers') if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_step_that_stops_waits_for_no_slow_answer(stubs, folder):
    def slow_but_one(body, count):
        if text_of(body) == TEXTS[0]:
            return Error(404)
        time.sleep(20)
        return right(body, count)

    spec = spec_of(stubs(slow_but_one).url)
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "ask.py"), *arguments_of(folder, spec)[1:]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "is not there" in done.stderr and "Traceback" not in done.stderr
    assert time.monotonic() - start < 15
