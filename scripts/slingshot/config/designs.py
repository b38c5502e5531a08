"""The section `designs`: arms beside the study's own."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from slingshot.config.base import MOST_CANDIDATES, MOST_EXAMPLES, Count, Different, Key, Seed, Spec


class LearningCurve(Spec):
    """Finetunes on nested, stratified subsets of train: `results/slm/{model}/train300/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    train_sizes: Annotated[list[Count], Different] = Field(min_length=1, description="besides all of train")
    hold: Literal["epochs", "steps"] = Field(
        "epochs",
        description="what is the same for every size: the epochs, or the optimizer steps that all of train takes",
    )


class Seeds(Spec):
    """Finetunes repeated with other seeds: `results/slm/{model}/seed1/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    seeds: Annotated[list[Seed], Different] = Field(min_length=1, description="besides the study's own seed")


class FewShotLadder(Spec):
    """More examples in the prompt of an untrained model: `results/llm/{model}/shots5/`.

    A prompt with k examples may be 1 + k times as long as prompt.max_tokens says.
    """

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    k: Annotated[list[Annotated[int, Field(ge=0, le=MOST_EXAMPLES)]], Different] = Field(
        min_length=1, description="besides the model's own few_shot.k"
    )


class Sweep(Spec):
    """A grid over finetune keys. The best on validation becomes the arm `results/slm/{model}/best/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    grid: dict[str, Annotated[list[Any], Field(min_length=1), Different]] = Field(
        min_length=1, description="finetune keys, dotted where nested, to their values, e.g. {lora.r: [8, 64]}"
    )

    @model_validator(mode="after")
    def _is_no_explosion(self) -> Sweep:
        _refuse_too_many(len(self.models) * prod(map(len, self.grid.values())))
        return self

    def candidates(self) -> list[tuple[str, dict[str, Any]]]:
        """Each model of the sweep with each setting of its grid."""
        settings = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        return [(model, setting) for model in self.models for setting in settings]


class Prompts(Spec):
    """Prompt files, each with k examples; the best on validation answers test as `results/llm/{model}/best_prompt/`."""

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    files: Annotated[list[str], Different] = Field(
        min_length=1, description="prompt files, relative to the study's folder; each with a name of its own"
    )
    k: Annotated[list[Annotated[int, Field(ge=0, le=MOST_EXAMPLES)]], Different] = Field(
        default=[0], min_length=1, description="examples in the prompt, each number with each file"
    )

    @field_validator("files")
    @classmethod
    def _have_names_of_their_own(cls, files: list[str]) -> list[str]:
        names = [PurePosixPath(file).stem for file in files]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"has two files named {twice}: give each a name of its own, as arms are named after them")
        return files

    @model_validator(mode="after")
    def _is_no_explosion(self) -> Prompts:
        _refuse_too_many(len(self.models) * len(self.files) * len(self.k))
        return self

    def candidates(self) -> list[tuple[str, str, int]]:
        """Each model of the design with each file and number of examples."""
        return list(product(self.models, self.files, self.k))


def _refuse_too_many(candidates: int) -> None:
    if candidates > MOST_CANDIDATES:
        raise ValueError(
            f"makes {candidates:,} candidates, and at most {MOST_CANDIDATES:,} are tried: name fewer values"
        )


class Heads(Spec):
    """Both ways to answer: written, and chosen by a head over labels (finetune.head): `results/slm/{model}/classify/`.

    With train sizes, also at fewer examples per label: `train300/` and `classify_train300/`.
    """

    models: Annotated[list[Key], Different] = Field(min_length=1, description="keys of the models that take part")
    train_sizes: Annotated[list[Count], Different] = Field(default=[], description="besides all of train")


class Designs(Spec):
    """Further arms, to ask how much specialization it takes."""

    crossed: Annotated[list[Key], Different] = Field(
        default=[],
        description="models that also get the other treatment: a small one untrained (`untrained/`), "
        "a large one finetuned (`finetuned/`; with nf4 weights that is QLoRA)",
    )
    learning_curve: LearningCurve | None = None
    seeds: Seeds | None = None
    few_shot: FewShotLadder | None = None
    sweep: Sweep | None = None
    heads: Heads | None = None
    prompts: Prompts | None = None


def models_by_design(designs: Designs) -> dict[str, list[str]]:
    parts = {
        name: getattr(designs, name) for name in ("learning_curve", "seeds", "few_shot", "sweep", "heads", "prompts")
    }
    return {"crossed": designs.crossed, **{name: part.models if part else [] for name, part in parts.items()}}
