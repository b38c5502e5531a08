"""Compare and report the arms whose results are there and belong to the study as it stands; say which are missing.

For a study of which one arm failed, or is still running. Nothing that the full report is made of is touched: the
page lies in a folder of its own, beside links to the arms that it shows.
"""

from __future__ import annotations

import logging
from pathlib import Path

from slingshot.config.arms import arms_of
from slingshot.config.study import load_study
from slingshot.core.errors import StudyError
from slingshot.report.available import link_results, what_is_missing, write_report
from slingshot.runtime import cli

log = logging.getLogger(__name__)


def main() -> None:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--study", type=Path, required=True, help="the study's folder, with its config.yaml")
    arguments.add_argument("--results", type=Path, required=True, help="the study's results folder")
    arguments.add_argument("--available", type=Path, required=True, help="folder for the report; its content is lost")
    given = arguments.parse_args()
    study = load_study(given.study / "config.yaml")
    arms = [arm for arm in arms_of(study) if not arm.candidate]
    why = {arm.path: what_is_missing(study, given.study, given.results, arm) for arm in arms}
    for arm, reason in why.items():
        log.info("%s: %s", arm, reason or "reported")
    if all(why.values()):
        raise StudyError("no arm has results that belong to the study as it stands: there is nothing to report yet")
    link_results(given.results, given.available, [arm for arm, reason in why.items() if not reason])
    write_report(study, given.study, given.available)
    log.info("the report is %s", given.available / "report.html")


if __name__ == "__main__":
    cli.run(main)
