"""Judge rewrites with the interpreter, in a process of its own: reads (problem, label, source) as JSON, prints failures."""

import json
import sys

from kopt.device.interpret import VerifyJob, verify_all
from kopt.model.kernel import Kernel

sys.path.insert(0, __file__.rsplit("/", 1)[0])
import samples  # noqa: E402 - found beside this file


def main() -> None:
    known = samples.problems()
    wanted = json.load(sys.stdin)
    jobs = [VerifyJob(kernel=Kernel(source=source), problem=known[name], seed=1) for name, _, source in wanted]
    failed = {}
    for index, verdict in verify_all(jobs, workers=2):
        if verdict.verdict != "passed":
            failed[f"{wanted[index][0]}: {wanted[index][1]}"] = f"{verdict.reason}\n{wanted[index][2]}"
    print(json.dumps(failed))


if __name__ == "__main__":
    main()
