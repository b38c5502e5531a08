"""Further test sets: every arm answers them too. No model is trained or chosen on them."""


use rule predict as predict_test_set with:
    input:
        model=card_of,
        adapter=adapter_of,
        settings=settings_of,
        labels=RESULTS.data.labels,
        choice=choice_of,
        train=RESULTS.data.train,
        test=SET,
    output:
        predictions=ON_SET.predictions,
        record=ON_SET.record("predict"),
        process=ON_SET.process("predict"),
    log:
        RESULTS.log("{arm}/predict_test_set.{test_set}"),
    benchmark:
        RESULTS.benchmark("{arm}/predict_test_set.{test_set}")
    wildcard_constraints:
        arm=one_of(PREDICTED),
        test_set=one_of(TEST_SETS),


use rule ask as ask_test_set with:
    input:
        labels=RESULTS.data.labels,
        choice=choice_of,
        train=RESULTS.data.train,
        test=SET,
    output:
        predictions=ON_SET.predictions,
        record=ON_SET.record("predict"),
        process=ON_SET.process("predict"),
    log:
        RESULTS.log("{arm}/ask_test_set.{test_set}"),
    benchmark:
        RESULTS.benchmark("{arm}/ask_test_set.{test_set}")
    wildcard_constraints:
        arm=one_of(ASKED),
        test_set=one_of(TEST_SETS),


use rule predict_fitted as predict_fitted_test_set with:
    input:
        pipeline=ARM.pipeline,
        test=SET,
        validation=[],
    output:
        predictions=ON_SET.predictions,
        validation=[],
        record=ON_SET.record("predict"),
        process=ON_SET.process("predict"),
    log:
        RESULTS.log("{arm}/predict_fitted_test_set.{test_set}"),
    benchmark:
        RESULTS.benchmark("{arm}/predict_fitted_test_set.{test_set}")
    wildcard_constraints:
        arm=one_of(arms_by_step("predict_fitted")),
        test_set=one_of(TEST_SETS),


use rule import_predictions as import_predictions_test_set with:
    input:
        test=SET,
        labels=RESULTS.data.labels,
    output:
        predictions=ON_SET.predictions,
    log:
        RESULTS.log("{arm}/import_predictions_test_set.{test_set}"),
    benchmark:
        RESULTS.benchmark("{arm}/import_predictions_test_set.{test_set}")
    wildcard_constraints:
        arm=one_of(IMPORTED),
        test_set=one_of(TEST_SETS),
    params:
        **facts("import_predictions", arm_on_set),
        spec=lambda wildcards: resolved("import_predictions", arm_on_set(wildcards)).model_dump_json(),


use rule score as score_test_set with:
    input:
        predictions=ON_SET.predictions,
        test=SET,
        labels=RESULTS.data.labels,
        training=[],
    output:
        metrics=ON_SET.metrics,
    log:
        RESULTS.log("{arm}/score.{test_set}"),
    benchmark:
        RESULTS.benchmark("{arm}/score.{test_set}")
    wildcard_constraints:
        arm=one_of(SCORED),
        test_set=one_of(TEST_SETS),


rule compare_test_sets:
    "From the study's own test split to each further test set: the arms' drops, and the pairs of the verdict there."
    input:
        files_on_test_sets,
        files_of_arms,
        comparison=RESULTS.comparison,
        test=RESULTS.data.test,
        sets=[RESULTS.data.test_set(name) for name in TEST_SETS],
    output:
        test_sets=RESULTS.test_sets,
    log:
        RESULTS.log("compare_test_sets"),
    benchmark:
        RESULTS.benchmark("compare_test_sets")
    conda:
        "../../envs/environment.yaml"
    threads: 1
    resources:
        again=again_flag,
        mem_mb=4000,
        runtime=60,
    params:
        **facts("compare_test_sets"),
        spec=spec("compare_test_sets"),
    shell:
        "launch --step compare_test_sets --lock {output.test_sets:q} --log {log:q} {resources.again} --"
        " compare_test_sets.py --spec {params.spec:q} --results results --test-sets {output.test_sets:q}"
