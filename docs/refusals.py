"""For the page of the Python API: an operation as a method of the engine, with its refusals."""

import ast
from typing import Any

import griffe

from technopay.engine.errors import REFUSALS


class Refusals(griffe.Extension):
    """Add the refusals to the docstring of each operation, and leave out its first parameter."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        for decorator in func.decorators:
            if func.docstring is None or not decorator.callable_path.endswith("operation"):
                continue
            del func.parameters["runtime"]
            codes = [
                word
                for node in ast.walk(ast.parse(str(decorator.value)))
                if isinstance(node, ast.Constant)
                for word in str(node.value).split()
            ]
            if codes:
                names = ", ".join(f"`{REFUSALS[code].__name__}`" for code in codes)
                func.docstring.value += f"\n\nRefusals: {names}."
