# kopt: search for faster GPU kernels as a DAG of files.
#
#   snakemake --cores 2 --config preset=beam_search problem=matvec rounds=3 models='[kopt-rewrite]'
#
# The rules are in workflow/rules, the work of each step in kopt/stages, and design decisions in docs/decisions.


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
