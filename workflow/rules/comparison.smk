"""The answer: every finetuned arm against every untrained one, and the report."""


rule compare:
    "Paired differences, cost and the verdict."
    input:
        files_of_arms,
        test="results/data/test.parquet",
    output:
        comparison="results/comparison.json",
        results="results/results.json",
    log:
        "results/logs/compare.log",
    benchmark:
        "results/benchmarks/compare.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        **facts("compare"),
        spec=spec("compare"),
    shell:
        "$RUN/compare.py --spec {params.spec:q} --results results --comparison {output.comparison}"
        " --results-json {output.results} 2>&1 | tee {log}"


rule report:
    "One self-contained HTML page."
    input:
        files_of_arms,
        comparison=rules.compare.output.comparison,
        dataset="results/data/dataset.json",
        test="results/data/test.parquet",
        cards=expand("results/models/{model}.json", model=STUDY.models),
    output:
        report="results/report.html",
        figures=directory("results/figures"),
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        **facts("report"),
        spec=spec("report"),
    shell:
        "$RUN/report.py --spec {params.spec:q} --study . --results results --report {output.report}"
        " --figures {output.figures} 2>&1 | tee {log}"


rule report_available:
    "A report of the arms that are there, which names those that are missing: results/available/report.html."
    log:
        "results/logs/report_available.log",
    conda:
        "../../envs/environment.yaml"
    shell:
        "$RUN/report_available.py --study . --results results --available results/available 2>&1 | tee {log}"
