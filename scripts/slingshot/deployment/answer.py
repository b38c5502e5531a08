"""Answer new dialogues with an arm of a finished study: its own prompt, window, examples, adapter and decoding."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ArmFiles, ResultFiles
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.predictions import Prediction, read_predictions, write_predictions
from slingshot.artifacts.records import StepRecord, read_step_record
from slingshot.artifacts.splits import LABELS, read_samples, read_split
from slingshot.artifacts.training import digest_of_adapter
from slingshot.config.arms import Arm
from slingshot.config.specs import AskSpec, PredictFittedSpec, PredictSpec
from slingshot.config.study import Study, load_study
from slingshot.core.errors import StudyError
from slingshot.core.files import replacing, without_formula, write_json
from slingshot.core.hashing import digest_of_file
from slingshot.data.decimals import has_decimals
from slingshot.data.prepare import with_tree
from slingshot.deployment.commands import command_for
from slingshot.deployment.drift import Drift, describe_drift, measure_drift
from slingshot.deployment.new_texts import STANDARD_INPUT, Wanted, is_split, read_new_texts, write_as_split
from slingshot.deployment.review import Review, review_of
from slingshot.rivals.fitting import has_label, predict
from slingshot.study.steps import arm_of

log = logging.getLogger(__name__)

FORMATS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class AnswerJob:
    """What to answer with which arm, and where the answers go. Without `output` they go to standard output."""

    study: Path
    arm: str
    source: str
    output: Path | None = None
    predictions: Path | None = None
    drift: Path | None = None
    text: list[str] | None = None  # columns; None: the study's
    identifier: str | None = None
    label: str | None = None
    device: str | None = None
    force: bool = False


def answer(job: AnswerJob) -> None:
    """Answer every text of the input, write a row per text, and say how the texts differ from the study's own.

    Raises:
        StudyError: the arm has no results, cannot answer, or the input cannot be read.
    """
    if job.output is not None and job.output.suffix not in FORMATS:
        raise StudyError(f"--output {job.output}: the name must end in {', '.join(FORMATS)}")
    refuse_overwriting(job)
    study = load_study(job.study / "config.yaml")
    results = ResultFiles(job.study / "results")
    arm = arm_of(study, job.arm)
    with tempfile.TemporaryDirectory() as scratch:
        split = Path(scratch) / "new.parquet"
        given = Path(job.source)
        if job.source != STANDARD_INPUT and is_split(given):
            if job.text or job.identifier or job.label:
                raise StudyError(
                    f"{given} is a split as prepare_data wrote it: leave --text, --identifier and --label out"
                )
            samples = read_samples(given, ("sample_id", "text", "label"))
            split, rows, labelled, identifiers = given, list(range(1, len(samples) + 1)), True, None
            texts = [sample["text"] for sample in samples]
        else:
            named = study.data.columns.text
            text = job.text or ([named] if isinstance(named, str) else named)
            data, names = with_tree(study.data, job.study), [name.strip() for name in text]
            new = read_new_texts(
                job.source, Wanted(names, job.identifier, job.label, data, _keeps_zeros(results.data.labels))
            )
            write_as_split(split, new.texts, new.labels, new.sets)
            rows, labelled, identifiers, texts = new.rows, new.labels is not None, new.identifiers, new.texts
            if new.empty_rows:
                words = "%d rows hold no text and get no answer, the first in row %d"
                log.warning(words, len(new.empty_rows), new.empty_rows[0])
        predictions = predict_split(study, job.study, results, arm, split, Path(scratch), job)
    review = review_of(results, arm.path)
    answers = rows_of(predictions, rows, identifiers, {each.label: each for each in read_labels(results.data.labels)})
    for row, prediction in zip(answers, predictions, strict=True):
        row["needs_review"] = review.is_needed(prediction, row["code"]) if review else None
    write_answers(job.output, answers)
    if job.predictions:
        write_predictions(job.predictions, predictions)
    drift = measure_drift(texts, predictions, results, arm)
    if job.drift:
        write_json(job.drift, drift.model_dump(mode="json"))
    log_answers(predictions, labelled, drift, review)


def refuse_overwriting(job: AnswerJob) -> None:
    """Stop before an output takes the place of the input or of another output.

    Raises:
        StudyError: names the option.
    """
    taken = {} if job.source == STANDARD_INPUT else {Path(job.source).resolve(): "the input"}
    for option in ("output", "predictions", "drift"):
        path = getattr(job, option)
        if path is None:
            continue
        if other := taken.get(path.resolve()):
            raise StudyError(f"--{option} {path}: this is {other}, which would be lost: name another file")
        taken[path.resolve()] = f"--{option}'s file"


def _keeps_zeros(labels: Path) -> bool:
    """Whether the study read `401.0` as it is written, as other labels have decimals."""
    return labels.exists() and any(has_decimals(each.label) for each in read_labels(labels))


def predict_split(
    study: Study, folder: Path, results: ResultFiles, arm: Arm, split: Path, scratch: Path, job: AnswerJob
) -> list[Prediction]:
    """Answer a split as the arm's step answered the test split, by the spec that its record holds."""
    files = results.arm(arm.path)
    step = arm.steps.get("predict")
    if step is None:
        raise StudyError(f"{arm.path} is a file of predictions: there is nothing that could answer new texts")
    record = read_arm_record(results, arm)
    new = ArmFiles(scratch / "new")
    out, written = new.predictions, new.record("predict")
    if step == "predict_fitted":
        device = study.networks[arm.model].hardware.device if arm.has_weights else "cpu"
        return _by_pipeline(record, files, arm, split, job.device or device)
    _refuse_other_inputs(record, results, arm)
    shared: dict[str, Any] = {
        "arm": arm.path,
        "labels": results.data.labels,
        "train": results.data.train,
        "split": split,
        "predictions": out,
        "record": written,
        "cache": results.cache(arm.model),
        "force": job.force,
        "choice": files.choice if files.choice.exists() else None,
    }
    if step == "ask":
        from slingshot.endpoints.ask import AskJob, ask

        if job.device:
            raise StudyError(f"--device: an endpoint answers for {arm.path}: leave it out")
        ask(AskJob(spec=_spec_of(AskSpec, record, arm), asking=study.models[arm.model].asking, **shared))
        return read_predictions(out)
    from slingshot.generation.predict import PredictJob
    from slingshot.generation.predict import predict as predict_by_model

    hardware = study.models[arm.model].hardware
    predict_by_model(
        PredictJob(
            spec=_spec_of(PredictSpec, record, arm),
            model=results.model_card(arm.model),
            adapter=files.adapter if arm.finetuned else None,
            device=job.device or hardware.device,
            token_budget=hardware.token_budget,
            memory_gb=hardware.memory_gb,
            **shared,
        )
    )
    return read_predictions(out)


def _refuse_other_inputs(record: StepRecord, results: ResultFiles, arm: Arm) -> None:
    """Stop where a language model's answers would not come from what the study's own came from.

    Raises:
        StudyError: network, adapter or labels were made again since.
    """
    files = results.arm(arm.path)
    now = {"labels": (results.data.labels, digest_of_file(results.data.labels))}
    if arm.has_weights:
        card = results.model_card(arm.model)
        now["model"] = card, read_model_card(card).revision
    if arm.has_weights and arm.finetuned:
        now["adapter"] = files.adapter, digest_of_adapter(files.adapter)
    for name, (path, digest) in now.items():
        if record.inputs.get(name, digest) != digest:
            raise StudyError(
                f"{path} was made again since {arm.path} answered the test split: run "
                f"`{command_for(results, files.metrics)}` first"
            )


def read_arm_record(results: ResultFiles, arm: Arm) -> StepRecord:
    """The record of the arm's answers to the test split.

    Raises:
        StudyError: the arm has not answered yet.
    """
    files = results.arm(arm.path)
    try:
        return read_step_record(files.record("predict"))
    except FileNotFoundError:
        raise StudyError(f"{arm.path} has no results yet: run `{command_for(results, files.metrics)}` first") from None


def _spec_of(model: Any, record: StepRecord, arm: Arm) -> Any:
    try:
        return model.model_validate(record.spec)
    except ValueError:
        raise StudyError(
            f"{arm.path}: its results are of another version of Slingshot, whose settings this one does not know; "
            "run the arm again, or answer with the version that made them"
        ) from None


def _by_pipeline(record: StepRecord, files: ArmFiles, arm: Arm, split: Path, device: str) -> list[Prediction]:
    spec = _spec_of(PredictFittedSpec, record, arm)
    columns = ("sample_id", "text", "label", *([LABELS.name] if spec.several else []))
    frame = read_split(split, columns)
    [predictions], _ = predict(spec, arm.path, files.fitted, [frame], device)
    return predictions


def chosen_code(prediction: Prediction) -> str | None:
    """The constrained answer where the arm gives one, else the code read from what the model wrote; of sets in one
    text."""
    return prediction.code if prediction.constrained_code is None else prediction.constrained_code


def chosen_codes(prediction: Prediction) -> list[str] | None:
    """`chosen_code` where an answer is a set."""
    return prediction.codes if prediction.constrained_codes is None else prediction.constrained_codes


def rows_of(
    predictions: Sequence[Prediction], rows: Sequence[int], identifiers: Sequence[Any] | None, labels: dict[str, Any]
) -> list[dict[str, Any]]:
    """One row per text: its place in the input, the code, what it means, how likely it is, and the next candidates."""
    found = []
    for place, prediction in enumerate(predictions):
        likely = {each.code: math.exp(each.log_probability) for each in prediction.candidates}
        row: dict[str, Any] = {"row": rows[place]}
        if identifiers is not None:
            row["id"] = identifiers[place]
        row["code"] = chosen_code(prediction)
        if prediction.labels is None:
            row |= _meaning(row["code"], labels, likely)
        else:
            codes = chosen_codes(prediction)
            row["codes"] = codes and [{"code": code, **_meaning(code, labels, likely)} for code in codes]
        row |= {
            "candidates": [{"code": name, "probability": value} for name, value in likely.items()],
            "raw": prediction.raw,
            "truncated": prediction.truncated,
        }
        found.append(row)
    return found


def _meaning(code: str | None, labels: dict[str, Any], likely: dict[str, float]) -> dict[str, Any]:
    known = labels.get(code) if code else None
    return {
        "description": known.description if known else None,
        "probability": likely.get(code) if code else None,
    }


def write_answers(output: Path | None, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows as CSV, JSON Lines or Parquet by the name's end, or as JSON Lines to standard output."""
    if output is None:
        sys.stdout.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    flat = [
        {key: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value for key, value in row.items()}
        for row in rows
    ]
    with replacing(output) as temporary:
        if output.suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat), temporary)
        elif output.suffix == ".csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, list(flat[0]) if flat else ["row"])
            writer.writeheader()
            writer.writerows({key: without_formula(value) for key, value in row.items()} for row in flat)
            temporary.write_text(text.getvalue(), encoding="utf-8")
        else:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            temporary.write_text("".join(lines), encoding="utf-8")


def _is_right(prediction: Prediction) -> bool:
    if prediction.labels is None:
        return chosen_code(prediction) == prediction.label
    codes = chosen_codes(prediction)
    return codes is not None and set(codes) == set(prediction.labels)


def log_answers(predictions: Sequence[Prediction], labelled: bool, drift: Drift, review: Review | None) -> None:
    """Log how many texts were answered, how sure, and how far they are from the study's own."""
    read = sum(chosen_code(prediction) is not None for prediction in predictions)
    log.info("%d texts answered, %d of them with a code", len(predictions), read)
    if review:
        needed = sum(review.is_needed(prediction, chosen_code(prediction)) for prediction in predictions)
        log.info("%d of them need a review: %s", needed, review.rule)
    with_label = [each for each, known in zip(predictions, has_label(predictions), strict=True) if known]
    if labelled and with_label:
        right = sum(_is_right(prediction) for prediction in with_label)
        log.info("%d of %d equal the label given", right, len(with_label))
    for line in describe_drift(drift):
        log.info(line)
