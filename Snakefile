"""Slingshot: does a small language model, finetuned on the task, beat a larger one that was never trained on it?"""

from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/arms.smk"
include: "workflow/rules/comparison.smk"
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
        "results/report.html",


rule data:
    "The splits and the leakage report, without any model."
    input:
        "results/data/dataset.json",


rule fetch:
    "The data and every model: all that needs the network."
    input:
        "results/data/dataset.json",
        expand("results/models/{model}.json", model=STUDY.models),


rule llm:
    "The large models alone, untrained."
    input:
        expand("results/{arm}/metrics.json", arm=plain_arms("llm")),


rule slm:
    "The small models alone, finetuned."
    input:
        expand("results/{arm}/metrics.json", arm=plain_arms("slm")),


rule clean_cache:
    "Remove what is kept only to save time: remembered answers, checkpoints of training, unfinished shards."
    log:
        "results/logs/clean_cache.log",
    conda:
        "envs/environment.yaml"
    shell:
        "rm -rf results/cache results/*/*/checkpoints results/*/*/*/checkpoints results/*/*/shards results/*/*/*/shards 2>&1 | tee {log}"
