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
    "Environment variable KOPT_": "common.smk sets both before any rule is made: commands name neither the interpreter "
    "nor the checkout, so that a run can be moved",
}


def findings() -> list[str]:
    """List the linter's findings on files and rules, a line each, without those that `IGNORED` lists."""
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", ROOT / "Snakefile"]
    done = subprocess.run(
        [*command, "--config", "models=[kopt-rewrite]", "judge=dry"], cwd=ROOT, text=True, check=False,
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
    left = findings()
    print("\n".join(left) or "snakemake --lint: nothing but what workflow/lint.py ignores")
    sys.exit(bool(left))
