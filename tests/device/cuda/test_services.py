"""The referee and the timer have every method that is called by name, with as many arguments; seen without a GPU."""

import ast
import inspect
from pathlib import Path

from kopt.device import cuda
from kopt.device.cuda.referee.referee import Referee
from kopt.device.cuda.timer.timer import Timer

FOLDER = Path(cuda.__file__).parent


def calls() -> list[tuple[type, str, int]]:
    """Service, method and number of arguments of every call by name in the package."""
    calls_by_name = [
        (ast.unparse(node.func.value), node.args)
        for path in sorted(FOLDER.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("call", "begin")
    ]
    return [
        (Referee if "referee" in process else Timer, args[0].value, len(args) - 1)
        for process, args in calls_by_name
        if process.endswith(("referee", "timer")) and isinstance(args[0], ast.Constant)
    ]


def test_every_method_that_is_called_by_name_takes_these_arguments():
    for service, method, count in calls():
        inspect.signature(getattr(service, method)).bind(None, *[None] * count)


def test_every_public_method_of_a_service_is_called():
    called = {(service, method) for service, method, _ in calls()}
    for service in (Referee, Timer):
        public = {name for name, _ in inspect.getmembers(service, inspect.isfunction) if not name.startswith("_")}
        assert {name for name in public if (service, name) not in called} <= {"clear"}
