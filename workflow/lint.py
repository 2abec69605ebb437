"""Run `snakemake --lint`, without the findings that `IGNORED` lists with reasons; exit 1 on any other finding.

python workflow/lint.py
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IGNORED = {
    "Specify a conda environment or container for each rule.": "rules run in the interpreter that runs Snakemake, "
    "with the packages that constraints.txt pins; two environments could disagree about Triton, on which builds depend",
    "Environment variable KOPT_": "common.smk and compare.smk set both before any rule is made: commands name "
    "neither the interpreter nor the checkout, so that a run can be moved",
}


WORKFLOWS = {
    "Snakefile": ("models=[kopt-rewrite]", "judge=dry"),
    "workflow/compare.smk": ("plan=benchmarks/clustering.yaml",),
}
"""Workflows, with settings with which they can be read."""


def findings(snakefile: str) -> list[str]:
    """List the linter's findings on files and rules, a line each, without those that `IGNORED` lists."""
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", ROOT / snakefile]
    done = subprocess.run(
        [*command, "--config", *WORKFLOWS[snakefile]], cwd=ROOT, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if not re.search(r"^(Lints for|Congratulations)", done.stdout, re.M):
        return [done.stdout]
    lines, where = [], ""
    for line in done.stdout.splitlines():
        where = line if line.startswith("Lints for") else where
        title = line.strip().removeprefix("* ").removesuffix(":")
        if line.startswith("    * ") and not title.startswith(tuple(IGNORED)):
            lines.append(f"{where} {title}")
    return lines


if __name__ == "__main__":
    left = [finding for snakefile in WORKFLOWS for finding in findings(snakefile)]
    print("\n".join(left) or "snakemake --lint: nothing but what workflow/lint.py ignores")
    sys.exit(bool(left))
