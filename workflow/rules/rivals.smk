"""Arms that write nothing: fitted to the train split, or answered elsewhere."""


rule fit:
    "Fit TF-IDF, an embedding's classifier or an encoder on train, and keep the pipeline in files."
    input:
        model=card_of,
        labels=RESULTS.data.labels,
        train=RESULTS.data.train,
        validation=RESULTS.data.validation,
    output:
        pipeline=ARM.pipeline,
        training=ARM.training,
        log=ARM.training_log,
        record=ARM.record("finetune"),
        process=ARM.process("finetune"),
    log:
        RESULTS.log("{arm}/fit"),
    benchmark:
        RESULTS.benchmark("{arm}/fit")
    wildcard_constraints:
        arm=one_of(arms_by_rule("fit")),
    priority: 1  # rather than a fetch that waits for another's files
    conda:
        "../../envs/environment.yaml"
    threads: threads_of_rival
    resources:
        again=again_flag,
        gpu=gpus_of_predict,
        gpus_wanted=gpus_of_predict,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        device=device_of,
        checkpoints=checkpoints_of,
    params:
        **facts("fit", "arm"),
        spec=spec("fit", "arm"),
    shell:
        "launch --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} --step finetune"
        " --arm {wildcards.arm:q} --record {output.process:q} --log {log:q} {resources.again} --"
        " fit.py --spec {params.spec:q} --arm {wildcards.arm:q} --model {input.model:q} --labels {input.labels:q}"
        ' --train {input.train:q} --validation {input.validation:q} --fitted "$(dirname {output.pipeline:q})"'
        " --training {output.training:q} --log {output.log:q} --record {output.record:q}"
        " --checkpoints {resources.checkpoints} --device {resources.device}"


rule predict_fitted:
    "Answer every dialogue of test and validation with a fitted pipeline: loading it takes as long as answering."
    input:
        pipeline=ARM.pipeline,
        model=card_of,
        test=RESULTS.data.test,
        validation=RESULTS.data.validation,
    output:
        predictions=ARM.predictions,
        validation=ARM.validation.predictions,
        record=ARM.record("predict"),
        process=ARM.process("predict"),
    log:
        RESULTS.log("{arm}/predict_fitted"),
    benchmark:
        RESULTS.benchmark("{arm}/predict_fitted")
    wildcard_constraints:
        arm=one_of(arms_by_rule("predict_fitted")),
    conda:
        "../../envs/environment.yaml"
    threads: threads_of_rival
    resources:
        again=again_flag,
        gpu=gpus_of_predict,
        gpus_wanted=gpus_of_predict,
        mem_mb=mem_mb_of,
        runtime=runtime_of,
        device=device_of,
    params:
        **facts("predict_fitted", "arm"),
        spec=spec("predict_fitted", "arm"),
    shell:
        "launch --gpus {resources.gpu} --gpus-wanted {resources.gpus_wanted} --step predict"
        " --arm {wildcards.arm:q} --record {output.process:q} --log {log:q} {resources.again} --"
        ' predict_fitted.py --spec {params.spec:q} --arm {wildcards.arm:q} --fitted "$(dirname {input.pipeline:q})"'
        " --splits {input.test:q} {input.validation:q} --predictions {output.predictions:q} {output.validation:q}"
        " --record {output.record:q} --device {resources.device}"


rule import_predictions:
    "Read the answers of another system, or of a second human coder, from a file."
    input:
        test=RESULTS.data.test,
        labels=RESULTS.data.labels,
    output:
        predictions=ARM.predictions,
    log:
        RESULTS.log("{arm}/import_predictions"),
    benchmark:
        RESULTS.benchmark("{arm}/import_predictions")
    wildcard_constraints:
        arm=one_of(IMPORTED),
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=4000,
        runtime=60,
    params:
        **facts("import_predictions", "arm"),
        spec=spec("import_predictions", "arm"),
    shell:
        "launch --step import_predictions --arm {wildcards.arm:q} --lock {output.predictions:q} --log {log:q} {resources.again} --"
        " import_predictions.py --spec {params.spec:q} --study . --test {input.test:q} --labels {input.labels:q}"
        " --predictions {output.predictions:q}"
