"""After the verdict: an arm as a folder that other tools load, and the study in one file."""


rule export:
    "Write an arm as a folder that transformers, vLLM and Ollama load, and compare its answers with the study's."
    input:
        predictions=ARM.predictions,
        metrics=ARM.metrics,
        test=RESULTS.data.test,
        adapter=adapter_of,
        settings=settings_of,
        record=record_of,
        model=card_of,
        pipeline=pipeline_of,
    output:
        folder=directory(str(ARM.export)),
    log:
        RESULTS.log("{arm}/export"),
    wildcard_constraints:
        arm=one_of(SCORED),
    conda:
        "../../envs/environment.yaml"
    threads: threads_of
    resources:
        again=again_flag,
        mem_mb=mem_mb_of,
        runtime=120,
    params:
        **facts("export"),
        config=as_in_the_file,
    shell:
        "launch --step export --arm {wildcards.arm:q} --lock {output.folder:q} --log {log:q} {resources.again} --"
        " export.py --study . --arm {wildcards.arm:q} {output.folder:q}"


rule archive:
    "Pack the study into one file to hand over: all that its report rests on, without weights."
    input:
        files_of_arms,
        report=RESULTS.report,
        config="config.yaml",
    output:
        archive=RESULTS.archive,
    log:
        RESULTS.log("archive"),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=2000,
        runtime=60,
    params:
        **facts("archive"),
        config=as_in_the_file,
    shell:
        "launch --step archive --lock {output.archive:q} --log {log:q} {resources.again} --"
        " archive.py --study . --archive {output.archive:q}"
