"""Slingshot: does a small language model, finetuned on the task, beat a larger one that was never trained on it?"""

from snakemake.utils import min_version

min_version("9.0")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/arms.smk"
include: "workflow/rules/rivals.smk"
include: "workflow/rules/test_sets.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/deployment.smk"
include: "workflow/rules/estimate.smk"


localrules:
    all,
    clean_cache,
    data,
    fetch,
    llm,
    slm,
    report_available,


rule all:
    "The whole study: every arm, the comparison, the report."
    default_target: True
    input:
        RESULTS.report,


rule data:
    "The splits and data.html, the page to look at before any model runs."
    input:
        RESULTS.data.page,


rule fetch:
    "The data and every model: all that needs the network."
    input:
        RESULTS.data.dataset,
        [RESULTS.model_card(model) for model in FETCHED],


rule llm:
    "The large models alone, untrained."
    input:
        [RESULTS.arm(arm).metrics for arm in plain_arms("llm")],


rule slm:
    "The small models alone, finetuned."
    input:
        [RESULTS.arm(arm).metrics for arm in plain_arms("slm")],


rule clean_cache:
    "Remove what is kept only to save time: remembered answers, checkpoints of training, unfinished shards."
    log:
        RESULTS.log("clean_cache"),
    conda:
        "envs/environment.yaml"
    params:
        removed=[
            RESULTS.caches,
            *(RESULTS.arm(arm).checkpoints for arm in ARMS),
            *(RESULTS.arm(arm).shards for arm in ARMS),
        ],
    shell:
        "rm -rf {params.removed:q} 2>&1 | tee {log}"
