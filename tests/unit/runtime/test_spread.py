"""The processes that share an arm's samples receive all that the one process would have."""

from dataclasses import fields
from pathlib import Path

from slingshot.config.specs import PredictSpec
from slingshot.generation.predict import PredictJob
from slingshot.runtime.spread import _options


def test_each_process_receives_every_setting_of_the_job() -> None:
    paths = {name: Path(name) for name in ("model", "labels", "train", "split", "predictions", "record", "cache")}
    more = {"adapter": Path("adapter"), "choice": Path("choice"), "token_budget": 512, "memory_gb": 8.0}
    job = PredictJob(spec=PredictSpec.model_construct(), arm="slm/a", **paths, **more, shard=(2, 3), force=True)
    named = {part.removeprefix("--").replace("-", "_") for part in _options(job) if part.startswith("--")}
    assert named == {field.name for field in fields(PredictJob)} - {"spec"}
