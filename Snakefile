# kopt: search for faster GPU kernels as a DAG of files.
#
#   snakemake --cores 2 --config preset=beam_search problem=matvec rounds=3 models='[kopt-rewrite]'
#
# The rules are in workflow/rules, the work of each step in kopt/stages, and design decisions in docs/decisions.

from itertools import chain


include: "workflow/rules/common.smk"
include: "workflow/rules/problem.smk"
include: "workflow/rules/propose.smk"
include: "workflow/rules/judge.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/diagnose.smk"
include: "workflow/rules/finish.smk"


rule all:
    default_target: True
    input:
        rules.finish.output,


# Where jobs are submitted, these run where Snakemake runs, unless they belong to a group: each takes a second, or asks
# language models, for which nodes of a cluster often have no network.
localrules:
    all,
    problem,
    models,
    seed,
    expand,
    generate,
    generate_repair,
    classify,
    select,
    brief,
    diagnose,
    finish,


onstart:
    if HEAD:
        take_run()
        keep_results()
        live.follow(Progress(Path(RUN)))
    if SUBMITS:
        keep_asking_squeue()
        # Only submitted jobs are tried again, since a node may be at fault; a local job would fail again.
        for made in filter(workflow.is_local, workflow.rules):
            made.restart_times = 0
        left = map(
            workflow.persistence.external_jobids, workflow.dag.needrun_jobs()
        )
        submitted.cancel_left(
            chain.from_iterable(left), Path(workflow.workdir_init)
        )
        submitted.follow(Path(RUN) / submitted.FOLDER)


onsuccess:
    end_parents_of_run()
    compare_with_kept()


onerror:
    end_parents_of_run()
