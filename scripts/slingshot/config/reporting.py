"""The sections that follow the predictions: statistics, cost, report, baseline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slingshot.config.base import MOST_MONEY, Seed, Spec

Estimand = Literal["exact_match", "micro_f1"]


class Statistics(Spec):
    """How sure the answer is."""

    estimand: Estimand | None = Field(
        None,
        description="the score that pairs, verdict and designs compare; null: exact_match, with data.several micro_f1",
    )
    confidence: float = Field(0.95, ge=0.5, le=0.9999, description="of every interval")
    resamples: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description="of the intervals of a learning curve's asymptote and exponent; every other interval is computed",
    )
    seed: Seed = Field(42, description="of the resamples")
    selective_precision: float = Field(
        0.95, gt=0, le=1, description="selective coding: how often an answer that no human looks at is to be right"
    )
    margin: float | None = Field(
        None,
        gt=0,
        lt=100,
        description="percentage points of the estimand that do not matter in use: the verdict then says which arms "
        "are equivalent or not worse; set it before the study runs; null: no such statement",
    )
    assumed_discordance: float = Field(
        0.3,
        gt=0,
        le=1,
        description="share of test samples that one arm of a pair alone has right, assumed before the study runs: how "
        "small a difference the test split can show is estimated from it",
    )

    def estimand_of(self, several: bool) -> Estimand:
        """What is compared, in a study whose samples have several labels each or one."""
        return self.estimand or ("micro_f1" if several else "exact_match")


class Cost(Spec):
    """Prices that turn GPU seconds into money."""

    gpu_hour_price: float | None = Field(None, ge=0, le=MOST_MONEY, description="null: money is left out")
    kwh_price: float | None = Field(None, ge=0, le=MOST_MONEY, description="null: energy is not priced")
    currency: str = Field("USD", description="of the prices, as the report prints it")
    rate_noise: float = Field(
        0.03,
        ge=0,
        lt=0.3,
        description="relative standard deviation of a measured time or energy from run to run, for the interval of the "
        "break-even volume; 3% is assumed, not measured: run a step several times on your machine",
    )

    @model_validator(mode="after")
    def _prices_energy_beside_hours(self) -> Cost:
        if self.kwh_price is not None and self.gpu_hour_price is None:
            raise ValueError("kwh_price is added to that of GPU hours: set gpu_hour_price, too, 0 where they are free")
        return self


class Report(Spec):
    """What the report shows."""

    title: str = Field("Can specialization beat size?", description="of the page")
    note: str | None = Field(None, description="shown under the verdict, e.g. that the data are synthetic")
    error_browser: bool = Field(True, description="false where the texts are confidential")
    archive_texts: bool = Field(True, description="whether `snakemake archive` packs the texts; false: all but them")


class Baseline(Spec):
    """TF-IDF with a linear classifier: what needs no language model."""

    tfidf: bool = Field(True, description="whether the study has this arm")
