# kopt: a beam search over GPU kernels as a DAG of files.
#
#   snakemake --cores 2 --config preset=beam_search problem=matvec rounds=3 models='[kopt-rewrite]'
#
# Which file comes from which is in workflow/rules, what a step does in kopt/stages, what is decided in docs/decisions.


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


localrules:
    all,
