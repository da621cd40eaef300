"""Genotypes as the codebases of the DARTS family print them: Genotype(normal=[('sep_conv_3x3', 0), ...], ...)."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from ..integers import whole

CALL = re.compile(r"\bGenotype\(")
_MOST, _LONGEST = 20_000, 100  # characters of a genotype, entries of a range
_TOKEN = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|[()]")
_ARRAY = re.compile(r"array|u?int(8|16|32|64|p)")  # numpy's, with its module's name in front or not


def last_call(text: str, fields: Sequence[str]) -> dict[str, Any]:
    """The arguments of the last `Genotype(...)` in a text, by name; those without one are in the order of `fields`.

    Strings, whole numbers, lists, tuples, range(...) and numpy's arrays and numbers of them are read; nothing is
    evaluated. A ValueError names the line and what is wrong there.
    """
    start = max((match.start() for match in CALL.finditer(text)), default=None)
    if start is None:
        raise ValueError("it has no Genotype(...)")
    line = text.count("\n", 0, start) + 1
    try:
        call = ast.parse(_whole_call(text, start), mode="eval").body
        assert isinstance(call, ast.Call)
        named = {str(keyword.arg): _value(keyword.value) for keyword in call.keywords}
        found = dict(zip(fields, map(_value, call.args), strict=False)) | named
        if set(found) != set(fields) or len(found) != len(call.args) + len(call.keywords):
            raise ValueError(f"need {', '.join(fields)}; got {', '.join(map(str, found))}")
    except (SyntaxError, RecursionError, MemoryError, ValueError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise ValueError(f"Genotype(...) in line {line}: {said}") from None
    return found


def _whole_call(text: str, start: int) -> str:
    """From `start` to the bracket that closes the first one."""
    depth = 0
    for token in _TOKEN.finditer(text, start, start + _MOST):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0 and token[0] == ")":
            return text[start : token.end()]
    raise ValueError("it is cut off" if len(text) < start + _MOST else f"it is longer than {_MOST} characters")


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and (isinstance(node.value, str) or whole(node.value) is not None):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        values = [_value(argument) for argument in node.args]
        if name == "range" and 0 < len(values) < 4 and all(whole(value) is not None for value in values):
            return list(range(*values)[:_LONGEST])
        if _ARRAY.fullmatch(name) and len(values) == 1:
            return values[0]
    raise ValueError(f"cannot read {ast.unparse(node):.60}")
