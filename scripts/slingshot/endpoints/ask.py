"""Put every sample of a split to an endpoint, except where its answer is kept from earlier.

Needs no tokenizer and no torch: the endpoint counts tokens and puts messages into its model's own form.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.predictions import Prediction, set_fields, write_predictions
from slingshot.artifacts.records import StepRecord, timed
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.config.endpoints import Asking
from slingshot.config.specs import AskSpec
from slingshot.core.environment import versions
from slingshot.core.errors import StudyError
from slingshot.core.hashing import digest_of_file
from slingshot.core.progress import progress
from slingshot.core.terminal import say
from slingshot.endpoints.asking import Request, RequestTally, ask_all
from slingshot.endpoints.client import SCHEMA_REFUSED, Client, RequestError
from slingshot.endpoints.replies import Reply
from slingshot.endpoints.schema import (
    JSON_TOKENS,
    MOST_ALTERNATIVES,
    answer_schema,
    label_of,
    labels_listed,
    lists_labels,
    rank_labels,
    rank_listed,
    written_labels,
)
from slingshot.endpoints.use import describe_use
from slingshot.generation.cache import PredictionCache
from slingshot.prompting.answering_job import AnsweringJob, longest_answer
from slingshot.prompting.answers import AnswerReader
from slingshot.prompting.choices import with_choice
from slingshot.prompting.examples import choose_examples
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.messages import Example, Message, chat_messages
from slingshot.prompting.right_answers import AnswerWriter, labels_of, whole_lines

log = logging.getLogger(__name__)

NOT_REPEATABLE = (
    "an endpoint's answers are not bytes that come again: kept answers are used until the step runs with --force"
)


_PARTS = {"free": "in words of its own", "listed": "from the list of labels"}


@dataclass(frozen=True, kw_only=True)
class AskJob(AnsweringJob):
    """What to ask which endpoint, and where the outputs go."""

    spec: AskSpec
    asking: Asking = field(default_factory=Asking)


@dataclass
class Replies:
    """What came back, by part (free, listed) and sample's index; the listed part can only be a label."""

    replies: dict[str, dict[int, Reply]]
    troubles: dict[str, dict[int, RequestError]]
    not_possible: list[str]

    def of(self, part: str, index: int) -> Reply | None:
        return self.replies.get(part, {}).get(index)


def ask(job: AskJob) -> None:
    """Ask for every sample and write predictions.jsonl and the step's record.

    Raises:
        StudyError: the endpoint cannot be asked, or more samples than allowed stay without an answer.
    """
    spec, notes = with_choice(job.spec, job.choice)
    record = StepRecord(
        step="ask",
        arm=job.arm,
        spec=spec.model_dump(mode="json"),
        inputs={"split": digest_of_file(job.split), "labels": digest_of_file(job.labels)},
        versions=versions(),
        device=f"endpoint {spec.source.host}",
        seed=spec.few_shot.seed if spec.few_shot.k else None,
        notes=[NOT_REPEATABLE],
    )
    columns = columns_of_samples(spec.prompt.several is not None)
    samples, labels = read_samples(job.split, columns), read_labels(job.labels)
    written = written_labels(labels, spec.prompt.answer)
    with timed(record.seconds, "prompts"):
        lists = LabelLists(spec.prompt, labels, lambda: read_samples(job.train, columns))
        messages = make_messages(spec, samples, job.train, lists)
        requests = make_requests(spec, samples, messages, written)
    record.notes += lists.describe_recall(samples)
    not_possible = []
    if "listed" not in requests and (spec.generation.constrained or spec.generation.candidates):
        not_possible.append("constrained answers and candidates: no schema lists all of ICD-10-CM (vocabulary)")
    tally = RequestTally()
    with timed(record.seconds, "ask"):
        answers = answer_all(job, requests, tally, record, not_possible)
    reader = AnswerReader({label.label: label.description for label in labels}, spec.labels, spec.level)
    predictions = [prediction_of(sample, answers, index, reader, written, spec) for index, sample in enumerate(samples)]
    predictions = without_ignored_schema(predictions, answers, spec)
    write_predictions(job.predictions, predictions)
    record.samples = len(predictions)
    record.prompt_tokens = sum(prediction.prompt_tokens for prediction in predictions)
    record.new_tokens = sum(prediction.new_tokens for prediction in predictions)
    record.truncated_samples = sum(prediction.truncated for prediction in predictions)
    record.endpoint = describe_use(spec, answers.replies, answers.troubles, tally, answers.not_possible)
    record.notes += [*notes, *notes_of(answers)]
    record.write(job.record)


def make_messages(
    spec: AskSpec, samples: Sequence[Mapping[str, Any]], train: Path, lists: LabelLists
) -> list[list[Message]]:
    texts = [sample["text"] for sample in samples]
    examples: Sequence[Sequence[Example]] = [()] * len(texts)
    if spec.few_shot.k:
        writer = AnswerWriter(spec.prompt.answer, spec.prompt.several, lists.labels)
        examples = choose_examples(
            spec.few_shot,
            read_samples(train, columns_of_samples(spec.prompt.several is not None)),
            texts,
            writer,
            lists,
        )
    return [
        chat_messages(spec.prompt, text, some, shown=shown)
        for text, some, shown in zip(texts, examples, lists.of(texts), strict=True)
    ]


def make_requests(
    spec: AskSpec,
    samples: Sequence[Mapping[str, Any]],
    messages: Sequence[list[Message]],
    written: Mapping[str, str],
) -> dict[str, list[Request]]:
    """The requests of each part: `free`, and `listed` where constrained answers or candidates are wanted."""
    generation, several = spec.generation, spec.prompt.several is not None
    answer_tokens = longest_answer(generation)
    shared = {"model": spec.source.model, "temperature": 0, **spec.source.parameters}
    fields: dict[str, dict[str, Any]] = {"free": {"max_tokens": answer_tokens}}
    if lists_labels(generation):
        longest = max(map(len, written), default=0)
        fields["listed"] = {
            "max_tokens": max(answer_tokens * (2 if several else 1), longest + JSON_TOKENS),  # a list has quotes, too
            "response_format": answer_schema(written, several),
        }
        if generation.candidates:
            fields["listed"] |= {"logprobs": True, "top_logprobs": MOST_ALTERNATIVES}
    return {
        part: [
            Request({**shared, **own, "messages": chat}, sample["text"])
            for sample, chat in zip(samples, messages, strict=True)
        ]
        for part, own in fields.items()
    }


def request_key(api: str, body: Mapping[str, Any]) -> str:
    """What an answer depends on: endpoint, model, messages and parameters, as a hex digest."""
    return hashlib.sha256(json.dumps([api, body], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def answer_all(
    job: AskJob, requests: dict[str, list[Request]], tally: RequestTally, record: StepRecord, not_possible: list[str]
) -> Replies:
    """All answers: kept ones, and those that are asked for now and kept as they come.

    Raises:
        StudyError: more samples than allowed stay without an answer; the answers that came are kept.
    """
    keys = {part: [request_key(job.spec.source.api, each.body) for each in asked] for part, asked in requests.items()}
    answers = Replies({part: {} for part in requests}, {part: {} for part in requests}, not_possible)
    with PredictionCache(job.cache) as cache:
        kept = {} if job.is_forced else cache.get(key for named in keys.values() for key in named)
        count_kept(keys, kept, record)
        client = None
        try:
            for part, asked in requests.items():
                by_key: dict[str, list[int]] = {}
                for index, key in enumerate(keys[part]):
                    by_key.setdefault(key, []).append(index)
                for key in by_key.keys() & kept.keys():
                    reply = Reply.from_json(kept[key])
                    answers.replies[part] |= dict.fromkeys(by_key.pop(key), reply)
                if by_key:
                    client = client or Client(job.spec.source, job.asking.timeout_seconds)
                    ask_part(job, client, part, asked, by_key, cache, answers, tally, record)
        finally:
            if client:
                client.close()
    return answers


def count_kept(keys: Mapping[str, list[str]], kept: Mapping[str, Any], record: StepRecord) -> None:
    """Count, in the record, the samples that need no request and those that need only some of theirs."""
    for parts in zip(*keys.values(), strict=True):
        there = sum(key in kept for key in parts)
        record.cached_samples += there == len(parts)
        record.partly_cached_samples += 0 < there < len(parts)
    record.fresh_tokens = 0
    if record.cached_samples:
        log.info("%d answers are kept from earlier", record.cached_samples)


def ask_part(
    job: AskJob,
    client: Client,
    part: str,
    requests: Sequence[Request],
    by_key: Mapping[str, list[int]],
    cache: PredictionCache,
    answers: Replies,
    tally: RequestTally,
    record: StepRecord,
) -> None:
    """Ask for one part of the answers; equal requests go out once."""
    places = list(by_key.items())
    allowed, stopped = job.asking.allowed_errors * len(requests), threading.Event()
    troubles = answers.troubles[part]
    log.info("asking %s for %d answers %s", client.source.api, len(places), _PARTS[part])
    asked = [requests[indices[0]] for _, indices in places]
    with progress("answers", len(places), "samples") as meter:
        for position, answer in ask_all(client, asked, job.asking, tally, stopped):
            key, indices = places[position]
            if isinstance(answer, Reply):
                if answer.refusal is None:
                    cache.put({key: answer.as_json()})
                answers.replies[part] |= dict.fromkeys(indices, answer)
                tokens = answer.usage.prompt + answer.usage.completion if answer.usage else 0
                record.fresh_tokens = (record.fresh_tokens or 0) + tokens
                meter.advance(1, tokens)
                continue
            troubles |= dict.fromkeys(indices, answer)
            meter.advance(1, note=f"{len(troubles)} without an answer")
            if answer.kind == SCHEMA_REFUSED or len(troubles) > allowed:
                stopped.set()
    refused = next((trouble for trouble in troubles.values() if trouble.kind == SCHEMA_REFUSED), None)
    if refused:
        reason = f"answers from the list of labels: the endpoint takes no such schema ({refused.message})"
        answers.not_possible.append(reason)
        log.warning("%s", reason)
    elif len(troubles) > allowed:
        raise StudyError(too_many_errors(job, troubles, len(requests)))


def too_many_errors(job: AskJob, troubles: Mapping[int, RequestError], samples: int) -> str:
    kinds = ", ".join(f"{kind} {count} times" for kind, count in Counter(t.kind for t in troubles.values()).items())
    last = list(troubles.values())[-1].message
    return (
        f"{job.spec.source.api} gave no answer to {len(troubles)} of {samples} samples after "
        f"{job.asking.retries + 1} tries each ({kinds}; last: {last}): see to the endpoint and run again, which asks "
        "only for what is missing, or raise asking.allowed_errors"
    )


def prediction_of(
    sample: Mapping[str, Any],
    answers: Replies,
    index: int,
    reader: AnswerReader,
    written: Mapping[str, str],
    spec: AskSpec,
) -> Prediction:
    free, listed = answers.of("free", index), answers.of("listed", index)
    trouble = answers.troubles["free"].get(index)
    several, candidates = spec.prompt.several is not None, spec.generation.candidates
    was_read = free if free and free.refusal is None else None
    was_listed = listed if listed and not listed.refusal else None
    if several:
        cut = was_read is not None and was_read.finish_reason == "length"
        codes = reader.read_set(whole_lines(was_read.content) if cut else was_read.content) if was_read else None
        constrained = labels_listed(was_listed.content, written) if was_listed else None
        answered = set_fields(labels_of(sample), codes, constrained)
    else:
        answered = {
            "label": sample["label"],
            "code": reader.read(was_read.content) if was_read else None,
            "constrained_code": label_of(was_listed.content, written) if was_listed else None,
        }
    rank = rank_listed if several else rank_labels
    is_ranked = was_listed is not None and answered["constrained_code"] is not None and candidates
    return Prediction(
        sample_id=sample["sample_id"],
        raw=free.content if free else "",
        **answered,
        candidates=rank(was_listed.tokens, written, candidates) if was_listed and is_ranked else [],
        prompt_tokens=free.usage.prompt if free and free.usage else 0,
        new_tokens=free.usage.completion if free and free.usage else 0,
        truncated=free is not None and free.kept_share < 1,
        thinking=free.thinking if free else None,
        thinking_tokens=free.usage.thinking or None if free and free.usage else None,
        finish_reason=free.finish_reason if free else None,
        refusal=free.refusal if free else None,
        error=f"{trouble.kind}: {trouble.message}" if trouble else None,
    )


def without_ignored_schema(predictions: list[Prediction], answers: Replies, spec: AskSpec) -> list[Prediction]:
    """The predictions, without constrained answers and candidates where the endpoint ignored what they rest on."""
    asked = len(answers.replies.get("listed", {}))
    fitting = sum(prediction.constrained_code is not None for prediction in predictions)
    keeps = bool(asked) and fitting * 2 > asked
    if asked and not keeps:
        answers.not_possible.append(
            f"answers from the list of labels: the endpoint ignored the schema ({asked - fitting} of {asked} answers "
            "were of another form)"
        )
    ranked = sum(bool(prediction.candidates) for prediction in predictions)
    if spec.generation.candidates and keeps and ranked * 2 <= asked:
        answers.not_possible.append(f"candidates: only {ranked} of {asked} answers came with log-probabilities")
        predictions = [prediction.model_copy(update={"candidates": []}) for prediction in predictions]
    if not keeps or not spec.generation.constrained:
        dropped: dict[str, Any] = {"constrained_code": None, "constrained_codes": None}
        dropped |= {} if keeps else {"candidates": []}
        predictions = [prediction.model_copy(update=dropped) for prediction in predictions]
    return predictions


def notes_of(answers: Replies) -> list[str]:
    """What a reader should know of the answers, as sentences."""
    replies = answers.replies["free"]
    cut = sum(reply.finish_reason == "length" for reply in replies.values())
    silent = sum(reply.finish_reason == "length" and not reply.content.strip() for reply in replies.values())
    empty = sum(not (r.content.strip() or r.refusal or r.finish_reason == "length") for r in replies.values())
    left_out = sorted({name for part in answers.replies.values() for reply in part.values() for name in reply.left_out})
    notes = [f"the endpoint cannot give {what}" for what in answers.not_possible]
    if left_out:
        notes.append(f"the endpoint takes no {', '.join(left_out)}: asked without")
    if empty:
        notes.append(f"{empty} of {len(replies)} answers came empty: they are kept and count as wrong")
        say(f"{notes[-1]} (SLINGSHOT_FORCE=1 asks for all answers again)")
    if cut:
        notes.append(
            f"{cut} answers were cut at generation.max_new_tokens"
            + (f", {silent} of them before anything was said, while thinking" if silent else "")
        )
    return notes
