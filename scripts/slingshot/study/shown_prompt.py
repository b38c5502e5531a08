"""The prompt of one sample as an arm gets it, for a person to read before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slingshot.artifacts.labels import read_labels
from slingshot.artifacts.layout import ResultFiles
from slingshot.artifacts.model_card import read_model_card
from slingshot.artifacts.splits import columns_of_samples, read_samples
from slingshot.config.specs import AskSpec
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.endpoints.ask import make_messages
from slingshot.generation.predict import make_prompts, prompter_of
from slingshot.models.loading import load_tokenizer
from slingshot.prompting.choices import with_choice
from slingshot.prompting.label_lists import LabelLists
from slingshot.prompting.right_answers import AnswerWriter
from slingshot.study.steps import arm_of, step_spec


def show_prompt(folder: Path, arm_path: str, number: int, split: str = "test") -> str:
    """The rendered prompt of a sample with its tokens, and what a right answer says.

    Args:
        folder: the study's folder, with its data prepared and the arm's model fetched.
        number: of the sample in its split, from 1.

    Raises:
        StudyError: the arm is shown no prompt, the sample does not exist, or data or model are not there yet.
    """
    study, results = load_study(folder / "config.yaml"), ResultFiles(folder / "results")
    arm = arm_of(study, arm_path)
    if not arm.generates:
        raise StudyError(f"{arm_path} is given texts without a prompt: name an arm of a language model")
    spec: Any = step_spec(study, folder, arm.steps["predict"], arm_path)
    choice = results.arm(arm_path).choice if results.arm(arm_path).choice.exists() else None
    data = {"train": results.data.train, "validation": results.data.validation, "test": results.data.test}
    _required(data[split], f"snakemake --directory {folder} data")
    spec = with_choice(spec, choice)[0]
    columns, labels = columns_of_samples(spec.prompt.several is not None), read_labels(results.data.labels)
    samples = read_samples(data[split], columns)
    if not 1 <= number <= len(samples):
        raise StudyError(f"{split} has {len(samples)} samples: name one from 1 to {len(samples)}, not {number}")
    sample = samples[number - 1]
    lists = LabelLists(spec.prompt, labels, lambda: read_samples(data["train"], columns))
    answer = AnswerWriter(spec.prompt.answer, spec.prompt.several, labels).text(sample)
    head = f"{arm_path}, sample {number} of {split} ({sample['sample_id']})"
    if isinstance(spec, AskSpec):
        messages = make_messages(spec, [sample], data["train"], lists)[0]
        turns = "\n\n".join(f"--- {message['role']}\n{message['content']}" for message in messages)
        return (
            f"{head}: {len(messages)} messages; an endpoint counts the tokens\n\n{turns}\n\n--- right answer\n{answer}"
        )
    card = results.model_card(arm.model)
    _required(card, f"snakemake --directory {folder} {results.model_card(arm.model).relative_to(folder)}")
    model = read_model_card(card)
    tokenizer = load_tokenizer(model)
    prompter = prompter_of(tokenizer, spec, model, lists, [])[0]
    prompt = make_prompts(prompter, [sample], spec, data["train"], lists)[0]
    cut = ", its dialogue cut in the middle" if prompt.truncated else ""
    rendered = tokenizer.decode(prompt.ids, skip_special_tokens=False)
    return f"{head}: {len(prompt.ids)} of {prompter.window} tokens{cut}\n\n{rendered}\n\n--- right answer\n{answer}"


def _required(path: Path, command: str) -> None:
    if not path.exists():
        raise StudyError(f"{path} is not there yet: make it with `{command}`")
