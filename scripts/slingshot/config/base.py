"""What every section of the config is made of: the base class, shared types, validators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints

Share = Annotated[float, Field(ge=0, le=1)]

Level = Literal["code", "category", "block", "chapter"]

AnswerForm = Literal["code", "code description", "description code"]

LabelOrder = Literal["code", "frequency"]

SelectBy = Literal["validation_loss", "validation_exact_match", "validation_micro_f1"]

Quantization = Literal["none", "int8", "nf4", "fp8"]

NumberType = Literal["bfloat16", "float16", "float32"]

Dtype = Literal["auto", "bfloat16", "float16", "float32"]

EnsembleWeights = Literal["equal", "validation"]

ArmKind = Literal["llm", "slm", "baseline", "embedding", "encoder", "predictions"]

ModelType = Literal["LLM", "SLM", "BASELINE", "EMBEDDING", "ENCODER", "PREDICTIONS"]

TrainingStatus = Literal["untrained", "finetuned", "imported"]

SIZE = r"^\d+(\.\d+)?[KMB]$"

Size = Annotated[str, StringConstraints(pattern=SIZE)]

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"

HUB_ID = rf"^{_NAME}(/{_NAME})?$"

REVISION = r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}$"

LOCAL_PATH = r"^[^\x00\n\r]*[^\x00\n\r\s]$"

HubId = Annotated[str, StringConstraints(pattern=HUB_ID)]

Revision = Annotated[str, StringConstraints(pattern=REVISION)]

LocalPath = Annotated[str, StringConstraints(min_length=1, max_length=4000, pattern=LOCAL_PATH)]

Encoding = Annotated[str, AfterValidator(lambda name: _text_encoding(name))]

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy, scikit-learn and torch all take

# Every number of a config has both bounds (tests/unit/config/test_bounds.py): beyond them it is a typing error that
# would show hours later, as an overflow, as memory that runs out or as a job that never ends.
MOST_SAMPLES = 10**9  # samples, steps

MOST_TOKENS = 10**7  # of a prompt or an answer; no model reads more today

MOST_EXAMPLES = 1000  # in a prompt

MOST_MINUTES = 525_600  # a year

MOST_MONEY = 1e9

MOST_CANDIDATES = 1000  # arms that one design makes

Count = Annotated[int, Field(ge=1, le=MOST_SAMPLES)]


class Spec(BaseModel):
    """Frozen, and refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TreeLabels(Spec):
    """A code tree of the study's own."""

    tree: LocalPath = Field(
        description="CSV with the columns code, parent, description and, if you like, level (chapter, block, category "
        "or code), relative to the study's folder; scripts/convert_tree.py writes it from published files"
    )
    digest: str | None = Field(None, description="of the file, filled in by Slingshot so that an edit reruns the steps")


LabelSystem = Literal["icd10cm", "plain"] | TreeLabels


def tagged_by_key(*keys: str) -> Discriminator:
    """Distinguish a union's members by the key that only they have."""

    def tag(value: Any) -> str | None:
        present = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        found = [key for key in keys if key in present]
        in_wheel = found[:1] == ["wheel"] and {*found} <= {"wheel", "gguf", "folder"}
        return found[0] if in_wheel or len(found) == 1 else None

    return Discriminator(
        tag,
        custom_error_type="source",
        custom_error_message=f"needs exactly one of {', '.join(keys)}",
    )


def _text_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(f"Python knows no encoding {name[:40]!r} of texts; e.g. utf-8, cp1252, utf-16") from None
    return name


def _all_different(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"names {value} more than once")
    return values


Different = AfterValidator(_all_different)
