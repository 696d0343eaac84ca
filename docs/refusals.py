"""For the page of the Python API: an operation as a method of the engine, with its errors."""

import ast
from typing import Any

import griffe

from technopay.engine.errors import REFUSALS
from technopay.engine.operation import ERRORS


class Refusals(griffe.Extension):
    """Add the errors to the docstring of each operation, and leave out its first parameter."""

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
            refusals = ", ".join(f"`{REFUSALS[code].__name__}`" for code in codes if code in REFUSALS)
            faults = ", ".join(f"`{ERRORS[code].__name__}`" for code in codes if code not in REFUSALS)
            for kind, names in (("Refusals", refusals), ("Faults of its own", faults)):
                if names:
                    func.docstring.value += f"\n\n{kind}: {names}."
