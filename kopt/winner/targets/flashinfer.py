"""Write a solution of FlashInfer-Bench and SOL-ExecBench: one JSON object with the source of a `run` function."""

from __future__ import annotations

import json

from kopt.errors import ProblemError
from kopt.winner import provenance
from kopt.winner.target import Target, tensors
from kopt.winner.winner import Winner


def write(winner: Winner) -> str:
    """Return the JSON of a solution, which returns its outputs.

    Raises:
        ProblemError: the reference has parameters, which a definition of these benchmarks passes as inputs.
    """
    problem, inputs = winner.problem, [spec.name for spec in tensors(winner)]
    if winner.workloads[0].parameters:
        raise ProblemError(
            f"{problem.name}: its parameters ({winner.workloads[0].parameters[0].name}, ...) are no inputs, which "
            "definitions of FlashInfer-Bench need: use --as module"
        )
    kernel, listed = winner.text, ", ".join(inputs)
    head = f"{provenance.docstring(winner)}\n\n{provenance.comments(winner)}"
    run = f'def run({listed}):\n    """Return the outputs."""\n    return {problem.seed.entry}({listed})'
    main = "\n\n\n".join(part for part in (head, kernel.imports, kernel.body, run) if part) + "\n"
    solution = {
        "name": f"kopt_{problem.name}_{winner.name}",
        "definition": problem.name,
        "author": f"kopt {winner.versions.get('kopt', '')}".strip(),
        "description": f"{problem.name} by {winner.name}; provenance stands in main.py",
        "spec": {
            "language": "triton",
            "target_hardware": [winner.device],
            "entry_point": "main.py::run",
            "dependencies": [],
            "destination_passing_style": False,
        },
        "sources": [{"path": "main.py", "content": main}],
    }
    return json.dumps(solution, indent=2, ensure_ascii=False) + "\n"


TARGET = Target(".json", "a solution of FlashInfer-Bench or SOL-ExecBench, as JSON", write, guarded=False)
