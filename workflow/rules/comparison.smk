"""The answer: every finetuned arm against every untrained one, and the report."""


rule compare:
    "Paired differences, cost and the verdict."
    input:
        files_of_arms,
        test=RESULTS.data.test,
    output:
        comparison=RESULTS.comparison,
        results=RESULTS.results,
    log:
        RESULTS.log("compare"),
    benchmark:
        RESULTS.benchmark("compare")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=8000,
        runtime=60,
    params:
        **facts("compare"),
        spec=spec("compare"),
    shell:
        "launch --step compare --lock {output.comparison:q} --log {log:q} {resources.again} --"
        " compare.py --spec {params.spec:q} --results results --comparison {output.comparison:q}"
        " --results-json {output.results:q}"


rule report:
    "One self-contained HTML page."
    input:
        files_of_arms,
        comparison=rules.compare.output.comparison,
        test_sets=[RESULTS.test_sets] if TEST_SETS else [],
        dataset=RESULTS.data.dataset,
        test=RESULTS.data.test,
        cards=[RESULTS.model_card(model) for model in FETCHED],
    output:
        report=RESULTS.report,
        figures=directory(str(RESULTS.figures)),
    log:
        RESULTS.log("report"),
    benchmark:
        RESULTS.benchmark("report")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=8000,
        runtime=60,
    params:
        **facts("report"),
        spec=spec("report"),
    shell:
        "launch --step report --lock {output.report:q} --log {log:q} {resources.again} --"
        " report.py --spec {params.spec:q} --study . --results results --report {output.report:q}"
        " --figures {output.figures:q}"


rule report_available:
    "A report of the arms that are there, which names those that are missing: results/available/report.html."
    log:
        RESULTS.log("report_available"),
    conda:
        "../../envs/environment.yaml"
    params:
        config=as_in_the_file,
    shell:
        "launch --step report_available --lock results/available/report.html --log {log:q} --"
        " report_available.py --study . --results results --available results/available"
