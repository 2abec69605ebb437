"""Have Triton compile the candidate's kernels from the text that was screened and is kept, and from nothing else.

Triton takes a kernel's text from a file, keeps it in an attribute, and finds compiled kernels by a digest in another
attribute.  A candidate that changed one of them would show one text and run another.  `Any` stands for Triton's
functions: Triton ships no types.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NoReturn

from triton.runtime.jit import JITCallable

from kopt.device.build import plain_operators
from kopt.device.reference.contract import load_candidate
from kopt.device.reference.rejection import SOURCE_NAME, Rejected
from kopt.model.build import Phase
from kopt.model.kernel import Kernel

KEPT = frozenset({
    "__globals__", "_fn_name", "_src", "fn", "hash", "raw_src", "starting_line_number", "used_global_vals",
})  # fmt: skip
"""Attributes of Triton's functions that only Triton may set."""

_PARSE = JITCallable.parse


class KernelSources:
    """The functions of a candidate's text, by the code that Python made of them."""

    def __init__(self, source: str, path: str) -> None:
        """Parse and compile the text.

        Args:
            source: the candidate's text.
            path: name of the file under which the candidate is run.
        """
        self.path = path
        self._codes = set(_codes(compile(source, path, "exec", dont_inherit=True)))
        self._functions: dict[tuple[str, int], ast.FunctionDef] = {}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                self._functions[node.name, first] = node
        self._checked: dict[int, tuple[Any, str]] = {}  # functions with the texts that were found to be theirs

    def check(self, function: Any, tree: ast.Module) -> None:
        """Check that what Triton parsed is the definition of the function in the candidate's text.

        Functions of installed packages pass.

        Args:
            function: Triton's function, a `JITCallable`.
            tree: what Triton parsed for it.

        Raises:
            Rejected: it is another text.
        """
        _, text = self._checked.get(id(function), (None, None))
        if function._src is not text:
            self._compare(function, tree)
            self._checked[id(function)] = (function, function._src)

    def _compare(self, function: Any, tree: ast.Module) -> None:
        python = function.fn
        code = getattr(python, "__code__", None)
        if not isinstance(python, FunctionType) or not isinstance(code, CodeType):
            _refuse(f"{function.__name__} is no Python function")
        if code.co_filename.startswith("<") or (code.co_filename == self.path and code not in self._codes):
            _refuse(f"{function.__name__} is not defined in the file's text")
        if code.co_filename != self.path:
            return
        node = self._functions.get((code.co_name, code.co_firstlineno))
        if node is None or _shape(tree.body[0]) != _shape(node):
            _refuse(f"Triton would compile another text for {function.__name__} than its definition in the file")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield a code object and all those inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _shape(node: ast.stmt) -> str:
    """Write a function's definition without decorators, positions, and blanks in texts, which Triton dedents."""
    assert isinstance(node, ast.FunctionDef)
    plain = copy.deepcopy(node)
    plain.decorator_list = []
    for part in ast.walk(plain):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            part.value = "".join(part.value.split())
    return ast.dump(plain)


def _refuse(reason: str) -> NoReturn:
    raise Rejected(Phase.IMPORT, f"{reason}: a kernel is compiled from the text that was handed in")


def load_kernel(kernel: Kernel, folder: Path) -> Callable[..., Any]:
    """Import a candidate and return its entry point, in a process of the candidate's own.

    Until the process ends Triton compiles the candidate's kernels only from the candidate's text, and operators that
    the candidate registers with torch are plain functions.

    Args:
        kernel: the candidate.
        folder: the folder into which the candidate's file is written.

    Raises:
        Rejected: the import raises, or the module has no such function.
    """
    plain_operators.install()
    with suppress(SyntaxError, ValueError, RecursionError):  # the import raises them again
        _keep_sources(KernelSources(kernel.source, str(folder / SOURCE_NAME)))
    return load_candidate(kernel, folder)


def _keep_sources(sources: KernelSources) -> None:
    def parsed(self: Any) -> ast.Module:
        tree: ast.Module = _PARSE(self)
        sources.check(self, tree)
        return tree

    def set_attribute(self: Any, name: str, value: object) -> None:
        if name in KEPT and sys._getframe(1).f_code.co_filename == sources.path:
            _refuse(f"replaces {name} of a kernel")
        object.__setattr__(self, name, value)

    def new_source(self: Any, text: str) -> NoReturn:
        _refuse(f"gives {self.__name__} another text")

    def subclassed(cls: Any, /, **named: Any) -> None:
        if sys._getframe(1).f_code.co_filename == sources.path:
            _refuse(f"defines {cls.__name__}, a class of Triton's functions")

    JITCallable.parse = parsed
    JITCallable.__setattr__ = set_attribute
    JITCallable._unsafe_update_src = new_source
    JITCallable.__init_subclass__ = classmethod(subclassed)
