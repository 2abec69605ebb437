"""Judge rewrites with the interpreter, in a process of its own.

Reads (problem, label, source) as JSON, prints what failed and why.
"""

import json
import sys

from kopt.device.interpret.contestant import VerifyJob
from kopt.device.interpret.judge import verify_all
from kopt.model.kernel import Kernel
from tests.rewrite import more_samples, samples


def main() -> None:
    known = samples.problems() | more_samples.problems()
    wanted = json.load(sys.stdin)
    jobs = [VerifyJob(kernel=Kernel(source=source), problem=known[name], seed=1) for name, _, source in wanted]
    failed = {}
    for index, verdict in verify_all(jobs, workers=2):
        if verdict.verdict != "passed":
            failed[f"{wanted[index][0]}: {wanted[index][1]}"] = f"{verdict.reason}\n{wanted[index][2]}"
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
