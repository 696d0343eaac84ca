"""For the page of the Python API: the refusals of an operation, which stand in its decorator."""

import ast
from typing import Any

import griffe

from technopay.engine.errors import REFUSALS


class Refusals(griffe.Extension):
    """Add them to the docstring of each operation."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        for decorator in func.decorators:
            if func.docstring is None or not decorator.callable_path.endswith("operation"):
                continue
            codes = [
                word
                for node in ast.walk(ast.parse(str(decorator.value)))
                if isinstance(node, ast.Constant)
                for word in str(node.value).split()
            ]
            if codes:
                names = ", ".join(f"`{REFUSALS[code].__name__}`" for code in codes)
                func.docstring.value += f"\n\nRefusals: {names}."
