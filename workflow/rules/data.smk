"""From the source to train, validation and test."""


rule prepare_data:
    "Read, clean, label and split the dialogues; report what leaks."
    output:
        train=RESULTS.data.train,
        validation=RESULTS.data.validation,
        test=RESULTS.data.test,
        labels=RESULTS.data.labels,
        dataset=RESULTS.data.dataset,
    log:
        RESULTS.log("prepare_data"),
    benchmark:
        RESULTS.benchmark("prepare_data")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        **facts("prepare_data"),
        spec=spec("prepare_data"),
    shell:
        "$RUN/prepare_data.py --spec {params.spec:q} --study . --train {output.train} --validation {output.validation}"
        " --test {output.test} --labels {output.labels} --dataset {output.dataset} 2>&1 | tee {log}"
