"""What an endpoint was used for, for the step's record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from slingshot.artifacts.records import EndpointUse
from slingshot.config.specs import AskSpec
from slingshot.endpoints.asking import RequestTally
from slingshot.endpoints.client import RequestError
from slingshot.endpoints.replies import Reply, Usage


def describe_use(
    spec: AskSpec,
    replies: Mapping[str, Mapping[int, Reply]],
    troubles: Mapping[str, Mapping[int, RequestError]],
    tally: RequestTally,
    not_possible: list[str],
) -> EndpointUse:
    """Counts over all answers of the arm.

    Args:
        replies, troubles: by part of an answer and sample.
    """
    every = [reply for part in replies.values() for reply in part.values()]
    free = list(replies["free"].values())
    usage = sum((reply.usage for reply in every if reply.usage), Usage())
    dates = sorted(reply.date for reply in every)
    seconds = [reply.seconds for reply in free if reply.refusal is None]
    median, q95 = np.quantile(seconds, (0.5, 0.95)) if seconds else (None, None)
    return EndpointUse(
        api=spec.source.api,
        model=spec.source.model,
        models=_counted(reply.model for reply in every if reply.model),
        fingerprints=_counted(reply.fingerprint for reply in every if reply.fingerprint),
        finish_reasons=_counted(reply.finish_reason for reply in free if reply.finish_reason),
        first_answer=dates[0] if dates else None,
        last_answer=dates[-1] if dates else None,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        thinking_tokens=usage.thinking,
        uncounted=sum(reply.usage is None and reply.refusal is None for reply in every),
        requests=tally.requests,
        retries=dict(sorted(tally.retries.items())),
        errors=_counted(trouble.kind for trouble in troubles["free"].values()),
        refusals=sum(reply.refusal is not None for reply in free),
        latency_median=None if median is None else round(float(median), 4),
        latency_q95=None if q95 is None else round(float(q95), 4),
        not_possible=not_possible,
    )


def _counted(values: object) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))  # type: ignore[call-overload]
