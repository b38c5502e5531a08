"""What the launcher says of how a step ended."""

import logging

import pytest

from slingshot.artifacts.records import ProcessRecord
from slingshot.runtime.launcher import explain_end


@pytest.mark.parametrize(
    ("exit_code", "said"),
    [
        (0, "finetune slm/a: done in 2.0 s"),
        (1, "finetune slm/a: failed after 2.0 s with exit code 1"),
        (143, "finetune slm/a: stopped after 2.0 s; the same command takes it up again"),
        (137, "main memory ran out"),
    ],
)
def test_an_end_that_was_asked_for_is_no_failure(caplog: pytest.LogCaptureFixture, exit_code: int, said: str) -> None:
    record = ProcessRecord(step="finetune", arm="slm/a", exit_code=exit_code, seconds=2.0, peak_resident=10**9)
    with caplog.at_level(logging.INFO):
        explain_end(record)
    assert said in caplog.text
    assert ("failed" in caplog.text) is (exit_code in (1, 137))
