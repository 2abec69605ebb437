"""What a user gets of the best kernel: provenance, a docstring that is true, forms that run without kopt."""

import ast
import importlib.util
import json
import sys

import pytest
import torch

from kopt.device.facts.facts import problem_facts
from kopt.errors import ProblemError
from kopt.model.kernel import Kernel
from kopt.model.problem import Workload
from kopt.report.record import FinalFigures
from kopt.winner.provenance import comments, docstring
from kopt.winner.standalone import standalone
from kopt.winner.targets import flashinfer, kernelbench, module, sol_execbench, torch_library
from kopt.winner.winner import Winner
from tests.device.small import SCALE as EVEN
from tests.device.small import SOURCE

SCALE = EVEN.model_copy(update={"small": (Workload(name="small", constants={"rows": 5}),)})
SEED = f'"""One program a row."""\n{SOURCE}'
FINAL = FinalFigures(
    best_name="r1a0s2", best_ms=0.5, seed_ms=1.0, speedup=2.0, eager_ms=0.7, estimated=True, roofline_share=0.8
)
HOSTILE = 'wider loads\x1b[2J\n"""\nimport os\u2028os.system("x")\x00'


def winner(source=SOURCE, seed=SEED, problem=SCALE, **fields):
    problem = problem.model_copy(update={"seed": Kernel(source=seed)})
    facts = problem_facts(problem)
    given = {
        "problem": problem, "source": source, "name": "r1a0s2", "steps": (("a model", "wider loads"),),
        "start": "the problem's seed kernel",
        "run": "demo: preset x", "judge": "interpret", "checks": None, "figures": FINAL, "device": "NVIDIA H100",
        "versions": {"kopt": "0.1.0", "torch": "2.13"}, "workloads": facts.workloads, "given": facts.given,
    }  # fmt: skip
    return Winner(**given | fields)


def on_cpu(text):
    """Let an exported file take tensors on the CPU for tensors on a GPU."""
    assert "not given.is_cuda" in text
    return text.replace("not given.is_cuda", "not given.is_cpu")


def executed(text, folder):
    file = folder / "exported.py"  # Triton reads a kernel's lines from its file
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("exported", file)
    made = importlib.util.module_from_spec(spec)
    sys.modules["exported"] = made
    spec.loader.exec_module(made)
    return made


def test_the_provenance_says_what_is_known_and_that_times_are_estimated():
    text = comments(winner())
    for words in ("scale, bfloat16", "1. wider loads (a model)", "estimated for NVIDIA H100, not measured", "0.5000 ms",
                  "seed 1.0000 ms estimated, 2.00x", "x bfloat16[4096, 512]", "interpreter; nothing has run on a GPU",
                  "fixed order"):  # fmt: skip
        assert words in text


def test_atomics_and_autotuners_are_told():
    text = comments(
        winner(
            SOURCE.replace("tl.store(y", "tl.atomic_add(y").replace(
                "@triton.jit", "@triton.autotune([], [])\n@triton.jit"
            )
        )
    )
    assert "any order" in text
    assert "autotuner" in text


@pytest.mark.parametrize("where", ["steps", "run"])
def test_foreign_text_stays_in_a_comment(where):
    fields = {"steps": ((HOSTILE, HOSTILE),)} if where == "steps" else {"run": HOSTILE}
    text = standalone(winner(**fields))
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(standalone(winner())))
    assert "\x1b" not in text
    assert "\x00" not in text


def test_a_docstring_of_the_seed_does_not_describe_another_kernel():
    seed = SOURCE.replace(
        "def kernel_function(x, weight, factor):\n",
        'def kernel_function(x, weight, factor):\n    """One launch for all rows."""\n',
    )
    changed = seed.replace("num_warps=4", "num_warps=8")
    assert "One launch" not in standalone(winner(changed, seed))
    assert "One launch" in standalone(winner(seed, seed))


FORMS = {
    "module": (module, "KernelModel"),
    "kernelbench": (kernelbench, "ModelNew"),
    "library": (torch_library, "KernelModel"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_runs_pytorch_where_the_kernel_was_not_verified_and_the_kernel_elsewhere(form, tmp_path):
    target, name = FORMS[form]
    exported = executed(on_cpu(target.write(winner())), tmp_path)
    model, plain = getattr(exported, name)(512, 2.0), exported.Model(512, 2.0)
    model.load_state_dict(plain.state_dict())
    model, plain = model.bfloat16(), plain.bfloat16()
    x, calls = torch.rand(3, 512).bfloat16(), []

    def kernel(x, weight, factor):
        calls.append(factor)
        return x * weight[0] * factor

    exported.kernel_function = kernel
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
    assert calls == [2.0]
    model(x.requires_grad_()).sum().backward()  # PyTorch, since the kernel has no gradient
    assert calls == [2.0]


FOLDED = SOURCE.replace("(x, weight, factor):", "(x, weight):").replace("y, columns, factor,", "y, columns, 2.0,")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", [SOURCE, FOLDED], ids=["asks", "folded"])
@pytest.mark.parametrize("made", [(512, 3.0), (256, 2.0)], ids=["factor", "size"])
def test_a_model_with_other_constants_than_the_kernels_runs_pytorch(form, source, made, tmp_path):
    target, name = FORMS[form]
    size = Workload(name="narrow", constants={"columns": 256, "rows": 5})
    text = target.write(winner(source, problem=SCALE.model_copy(update={"small": (size,)})))
    exported = executed(on_cpu(text), tmp_path)
    model, calls = getattr(exported, name)(*made).bfloat16(), []

    def kernel(x, weight, factor=2.0):
        calls.append(factor)
        return x * weight[0] * factor

    exported.kernel_function = kernel
    x = torch.rand(3, made[0]).bfloat16()
    with torch.no_grad():
        assert torch.equal(model(x), x * model.scale.weight[0] * made[1])
    other_factor = made[1] != 2.0
    assert calls == ([] if other_factor and (source == FOLDED or form == "library") else [made[1]])


def test_the_operator_is_one_step_of_a_compiled_model(tmp_path):
    exported = executed(torch_library.write(winner()), tmp_path)
    model, seen = exported.KernelModel(512, 2.0), []

    def backend(graph, inputs):
        seen.append([str(node.target) for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    with torch.no_grad():
        x = torch.rand(3, 512)
        result = torch.compile(model, backend=backend, fullgraph=True)(x)
        assert torch.equal(result, model(x))
    assert [name for names in seen for name in names if "kopt" in name] == ["kopt.scale.default"] or seen == [
        ["kopt.scale"]
    ]


WITHOUT_WEIGHT = SCALE.reference.replace("self.scale.weight[0] * self.factor", "FACTOR").replace(
    "        self.scale = nn.Linear(size, 1, bias=False)\n", ""
)
ADD = SOURCE.replace("def kernel_function(x, weight, factor):", "def kernel_function(x, FACTOR, eps=1e-6):")


def without_parameters(source=ADD, reference="FACTOR = 2.0\n", **fields):
    problem = SCALE.model_copy(update={"reference": reference + WITHOUT_WEIGHT, **fields})
    return winner(source, source, problem)


@pytest.mark.parametrize(
    ("target", "spec"),
    [
        (flashinfer, {"language": "triton", "target_hardware": ["NVIDIA H100"]}),
        (sol_execbench, {"languages": ["triton"], "target_hardware": ["LOCAL"]}),
    ],
    ids=["flashinfer", "sol_execbench"],
)
def test_a_solution_of_a_definition_holds_one_file_with_the_entry_point(target, spec):
    solution = json.loads(target.write(without_parameters()))
    shared = {"entry_point": "main.py::run", "dependencies": [], "destination_passing_style": False}
    assert solution["spec"] == spec | shared
    (source,) = solution["sources"]
    assert "def run(x):" in source["content"]
    assert "return kernel_function(x, FACTOR=2.0)" in source["content"]


def test_a_solution_names_the_definition_that_the_problem_was_made_from():
    named = without_parameters(reference='DEFINITION = "rmsnorm_h4096"\nFACTOR = 2.0\n')
    assert json.loads(sol_execbench.write(named))["definition"] == "rmsnorm_h4096"
    assert json.loads(sol_execbench.write(without_parameters()))["definition"] == SCALE.name


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (winner, "its parameters .scale.weight, .*are no inputs"),
        (lambda: without_parameters(ADD.replace("FACTOR", "other")), "takes 'other', which is no number that the ref"),
        (
            lambda: without_parameters(small=(Workload(name="small", constants={"rows": 6, "FACTOR": 2.0}),)),
            "takes 'FACTOR', which differs between the workloads",
        ),
    ],
    ids=["weights", "unknown", "varying"],
)
def test_a_kernel_that_needs_more_than_the_inputs_is_no_solution(made, why):
    with pytest.raises(ProblemError, match=why):
        sol_execbench.write(made())


def test_a_kernel_that_defines_a_name_of_the_reference_is_refused_in_a_line():
    with pytest.raises(ProblemError, match="the kernel and the reference define 'Model': rename it"):
        module.write(winner(SOURCE + "\n\nclass Model:\n    pass\n"))


@pytest.mark.parametrize("name", ["call_kernel", "tell"])
def test_a_reference_that_defines_a_name_of_the_written_file_is_refused_in_a_line(name):
    problem = SCALE.model_copy(update={"reference": f"def {name}(x):\n    return x\n{SCALE.reference}"})
    with pytest.raises(ProblemError, match=f"the reference and the exported file define '{name}': rename it"):
        torch_library.write(winner(SOURCE, SOURCE, problem))


def test_statements_on_one_line_with_a_docstring_stay():
    text = standalone(winner('"""Old."""; import torch\n' + SOURCE.replace("import torch\n", "", 1)))
    assert "import torch" in text.partition("def scale_kernel")[0]
    assert compile(text, "x", "exec")


def test_lines_are_counted_as_python_counts_them():
    source = SOURCE.replace("    row = tl", "    # a\x0cb\u2028c\n    row = tl").replace("\n", "\r\n")
    assert "def kernel_function" in standalone(winner(source))


DEAD = SOURCE.replace(
    "@triton.jit", "@triton.jit\ndef old_kernel(x_ptr):\n    tl.atomic_add(x_ptr, 1.0)\n\n\n@triton.jit", 1
)
CHOSEN = DEAD.replace("    scale_kernel[", "    if x.is_cpu:\n        old_kernel[(1,)](x)\n    scale_kernel[", 1)


def test_a_kernel_that_nothing_launches_is_not_counted_and_says_nothing_of_the_order():
    assert docstring(winner(DEAD)).startswith('"""scale: 1 Triton kernel (scale_kernel), called by')
    assert "sums are in a fixed order" in comments(winner(DEAD))


def test_a_kernel_that_the_timed_sizes_do_not_launch_is_named_apart():
    assert "2 Triton kernels (old_kernel, scale_kernel), called" in docstring(winner(CHOSEN))
    told = docstring(winner(CHOSEN, launched=frozenset({"scale_kernel"})))
    assert "1 Triton kernel (scale_kernel), at other sizes old_kernel, called by" in told
    assert "results may differ in their last bits" in comments(winner(CHOSEN, launched=frozenset({"scale_kernel"})))
