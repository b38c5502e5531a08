"""What a dry run adds: the model steps to run, by design, and the GPU hours that they will take."""

import atexit

STUDY_FOLDER = Path.cwd()


def say_estimate():
    """Once Snakemake has said its part of a dry run: it has no hook of its own for the end of one."""
    if not (workflow.is_main_process and workflow.dryrun and workflow.scheduler):
        return
    from snakemake.settings.enums import Quietness

    from slingshot.study.estimate import jobs_of, table
    from slingshot.study.sending import describe_sending

    if Quietness.ALL in (workflow.output_settings.quiet or ()):
        return
    needed = workflow.dag.needrun_jobs(exclude_finished=False)  # a dry run leaves every job finished
    wildcards = [(job.rule.name, dict(job.wildcards.items())) for job in needed]
    jobs = jobs_of((rule, values.get("arm"), values.get("test_set")) for rule, values in wildcards)
    for describe in (table, describe_sending):
        if table := describe(STUDY, jobs, STUDY_FOLDER / "results"):
            print(f"\n{table}")


atexit.register(say_estimate)
