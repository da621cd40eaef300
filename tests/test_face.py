"""The public names: every parameter and field is described, every name has an example, and the examples run."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_darts import Network as Foreign

import sgl_fast

NAMES = [name for name in sgl_fast.__all__ if name != "__version__"]


def documented(name: str) -> Any:
    """What holds the docstring of a public name: itself, or the class of an instance."""
    value = getattr(sgl_fast, name)
    return value if inspect.isroutine(value) or inspect.isclass(value) else type(value)


def callables(name: str) -> Iterator[tuple[str, Any, str]]:
    """Of a public name its own call and those of its public methods: name, function, docstring."""
    value = documented(name)
    if not inspect.isclass(value):
        yield name, value, inspect.getdoc(value) or ""
        return
    if value is getattr(sgl_fast, name):
        yield name, value, inspect.getdoc(value) or ""
    for method, attribute in vars(value).items():
        function = getattr(attribute, "__func__", attribute)
        if inspect.isfunction(function) and (not method.startswith("_") or method == "__call__"):
            yield f"{name}.{method}", function, inspect.getdoc(function) or ""


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_described(name: str) -> None:
    for where, function, doc in callables(name):
        parameters = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
        missing = [p for p in parameters if not re.search(rf"\b{p}\b", doc)]
        assert doc.strip() and not missing, f"{where} does not describe {missing}"


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str, tmp_path: Path) -> None:
    given = {"torch": torch, "model": Foreign(num_classes=10), "other": Foreign(num_classes=10)}  # a reader's own
    given |= {"file": tmp_path / "weights.pt"}
    given |= {public: getattr(sgl_fast, public) for public in NAMES}
    found = doctest.DocTestFinder(exclude_empty=True).find(documented(name), name, globs=given)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    torch.manual_seed(0)
    results = [runner.run(test) for test in found]
    assert sum(result.attempted for result in results) and not sum(result.failed for result in results)
