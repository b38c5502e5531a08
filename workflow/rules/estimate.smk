"""What a dry run adds: faults that can be known, the model steps to run, by design, and the hours that they take."""

import atexit
import sys

from slingshot.runtime.command_words import is_dry_run

STUDY_FOLDER = Path.cwd()

if workflow.is_main_process and is_dry_run(sys.argv[1:]):
    from slingshot.study.checks import find_faults

    if faults := find_faults(STUDY, STUDY_FOLDER, STUDY_FOLDER / "results"):
        raise WorkflowError("this study would fail:\n" + "\n".join(faults))


def say_estimate():
    """Once Snakemake has said its part of a dry run: it has no hook of its own for the end of one."""
    if not (workflow.is_main_process and workflow.dryrun and workflow.scheduler):
        return
    from snakemake.settings.enums import Quietness

    from slingshot.core.gpus import has_gpu
    from slingshot.study.checks import describe_devices
    from slingshot.study.estimate import jobs_of, table
    from slingshot.study.sending import describe_sending

    if Quietness.ALL in (workflow.output_settings.quiet or ()):
        return
    needed = workflow.dag.needrun_jobs(exclude_finished=False)  # a dry run leaves every job finished
    wildcards = [(job.rule.name, dict(job.wildcards.items())) for job in needed]
    jobs = jobs_of((rule, values.get("arm"), values.get("test_set")) for rule, values in wildcards)
    trained = [job.arm for job in jobs if job.rule in ("finetune", "fit") or job.rule.startswith("predict")]
    texts = [describe(STUDY, jobs, STUDY_FOLDER / "results") for describe in (table, describe_sending)]
    for text in (*texts, describe_devices(STUDY, trained, has_gpu())):
        if text:
            print(f"\n{text}")


atexit.register(say_estimate)
