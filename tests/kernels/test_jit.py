"""What kernels are compiled for: nothing that counts, be it in a structure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

pytest.importorskip("triton")

from sgl_fast.kernels import jit


class Inner(NamedTuple):
    ptr: Any
    step: Any


class Outer(NamedTuple):
    inner: Inner
    count: Any
    missing: Any


def test_fields_of_plain_structures_are_not_specialised() -> None:
    """Neither a 1, nor a multiple of 16, nor an aligned place; types and None stay, and the structures' own types."""
    kind = Outer(Inner("*fp32", "i32"), "constexpr", "constexpr")
    found = jit.unspecialized(kind, Outer(Inner("D", "D"), 1, None))
    assert found == ((("*fp32", "i32"), "i32", "constexpr"), (("", ""), "", None))
    assert [type(found[0]), type(found[1].inner)] == [Outer, Inner]
    assert jit.unspecialized("i64", "D") == ("i64", "") and jit.unspecialized("u1", None) == ("u1", None)


def test_equal_structures_of_two_types_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(NamedTuple):
        first: Any
        second: Any

    seen = [(Inner("i32", "i32"), Inner("D", "")), (Other("i32", "i32"), Other("D", ""))]
    monkeypatch.setattr(jit.JITFunction, "create_binder", lambda self: ({}, lambda: ({}, list(seen), {})))
    made = object.__new__(jit.Kernel)
    made.params = [SimpleNamespace(num=i, do_not_specialize=True, is_constexpr=False) for i in range(2)]
    _, bind = made.create_binder()
    for _ in "ab":  # the second time as it was kept
        kinds = [kind for kind, _ in bind()[1]]
        assert list(map(type, kinds)) == [Inner, Other]


def test_products_are_fused_unless_a_launch_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit.JITFunction, "run", lambda self, *args, **options: options)
    made = object.__new__(jit.Kernel)
    assert made.run(1, grid=(2,)) == {"enable_fp_fusion": True, "grid": (2,)}
    assert made.run(enable_fp_fusion=False) == {"enable_fp_fusion": False}


def test_an_old_interpreter_takes_arrays_of_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    set_: dict[str, Any] = {}
    scope = SimpleNamespace(set_attr=lambda tensor, name, value: set_.update({name: value}))
    monkeypatch.setattr(interpreter, "_patch_lang_tensor", lambda tensor, scope: set_.update(before=True))
    jit.mend_interpreter.__wrapped__()
    interpreter._patch_lang_tensor(None, scope)
    numpy = pytest.importorskip("numpy")
    assert set_["before"] and set_["__index__"](SimpleNamespace(handle=SimpleNamespace(data=numpy.array([7])))) == 7
