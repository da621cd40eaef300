"""CIFAR from small archives in the published forms, and from every kind of bad one."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sgl_fast.data import find, open_dataset
from sgl_fast.data.cifar_forms import FORMS, Form
from sgl_fast.data.safe_pickle import loads

PUBLISHED = dict(FORMS)
ROWS, TEST_ROWS = 4, 3
Files = dict[str, bytes]


@pytest.fixture(autouse=True)
def forms(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Form, ...]]:
    """The published forms with few rows, and without the checksums that only the full archives can have."""
    small = {
        name: tuple(dataclasses.replace(form, rows=ROWS, test_rows=TEST_ROWS, md5=None) for form in both)
        for name, both in FORMS.items()
    }
    for name, both in small.items():
        monkeypatch.setitem(FORMS, name, both)
    return small


def table(form: Form, rows: int, seed: int) -> tuple[np.ndarray, list[int]]:
    generator = np.random.RandomState(seed)
    return generator.randint(0, 256, (rows, 3072)).astype(np.uint8), generator.randint(0, form.classes, rows).tolist()


def python2_pickle(pixels: np.ndarray, labels: list[int], key: bytes) -> bytes:
    """{"data": uint8 array, key: labels} in the opcodes that Python 2 and the numpy of its day wrote."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = (
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + integer(-1) * 2 + b"K\x00tb"
    )
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    raw = b"T" + struct.pack("<i", pixels.size) + pixels.tobytes()
    shape = integer(pixels.shape[0]) + integer(pixels.shape[1]) + b"\x86"
    array = empty + b"(K\x01" + shape + dtype + b"\x89" + raw + b"tb"
    listed = b"](" + b"".join(integer(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + listed + b"u."


def content(form: Form, seed: int = 0) -> Files:
    files = {}
    for number, name in enumerate((*form.train, form.test)):
        pixels, labels = table(form, ROWS if name != form.test else TEST_ROWS, seed + number)
        if isinstance(form.label, bytes):
            files[name] = python2_pickle(pixels, labels, form.label)
        else:
            coarse = np.full((len(labels), form.label - 1), 19, np.uint8)
            files[name] = np.hstack([coarse, np.array(labels, np.uint8)[:, None], pixels]).tobytes()
    names = [f"class{i}".encode() for i in range(form.classes)]
    if isinstance(form.label, bytes):
        files[form.names] = pickle.dumps({form.names_key: names}, protocol=3)
    else:
        files[form.names] = b"\n".join(names) + b"\n\n"
    return files


def write(form: Form, root: Path, files: Files | None = None) -> Path:
    """The archive of a form in `root`."""
    path = root / form.archive
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in (content(form) if files is None else files).items():
            info = tarfile.TarInfo(f"{form.folder}/{name}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def extract(form: Form, root: Path, files: Files | None = None) -> Path:
    folder = root / form.folder
    folder.mkdir()
    for name, raw in (content(form) if files is None else files).items():
        (folder / name).write_bytes(raw)
    return folder


def refused(root: Path, name: str = "cifar10") -> str:
    """The one line that opening it ends with."""
    with pytest.raises(ValueError) as caught:
        open_dataset(name, str(root), unlabeled="train")
    line = str(caught.value)
    assert "\n" not in line and str(root) in line
    return line


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("kind", [0, 1], ids=["binary", "python"])
@pytest.mark.parametrize("put", [write, extract], ids=["archive", "folder"])
def test_every_form_gives_the_same_images(tmp_path: Path, name: str, kind: int, put: Callable[..., Path]) -> None:
    form = FORMS[name][kind]
    put(form, tmp_path)
    assert find(name, tmp_path)
    data = open_dataset(name, str(tmp_path), unlabeled="train")
    train = [table(form, ROWS, number) for number in range(len(form.train))]
    pixels = torch.from_numpy(np.concatenate([p for p, _ in train])).view(-1, 3, 32, 32)
    labels = torch.tensor([label for _, part in train for label in part])
    half = len(labels) // 2
    assert torch.equal(data.train[0], pixels[:half]) and torch.equal(data.train[1], labels[:half])
    assert torch.equal(data.val[0], pixels[half:]) and torch.equal(data.val[1], labels[half:])
    test_pixels, test_labels = table(form, TEST_ROWS, len(form.train))
    assert torch.equal(data.test[0].flatten(1), torch.from_numpy(test_pixels)) and data.test[1].tolist() == test_labels
    assert data.unlabeled is data.train[0] and "(the training images)" in data.note
    assert data.classes is not None and data.classes[:2] == ("class0", "class1") and data.num_classes == form.classes


def test_the_published_forms_halve_fifty_thousand() -> None:
    assert {form.rows * len(form.train) for both in PUBLISHED.values() for form in both} == {50_000}


def test_the_other_cifar_is_the_unlabeled_set(tmp_path: Path) -> None:
    write(FORMS["cifar10"][0], tmp_path)
    with pytest.raises(ValueError, match=r'cifar100: .* has no .*; .*unlabeled="train" uses the training images'):
        open_dataset("cifar10", str(tmp_path))
    write(FORMS["cifar100"][1], tmp_path)
    data = open_dataset("cifar10", str(tmp_path))
    pixels, _ = table(FORMS["cifar100"][1], ROWS, 0)
    assert torch.equal(data.unlabeled[torch.arange(ROWS)].flatten(1), torch.from_numpy(pixels))
    assert len(open_dataset("cifar100", str(tmp_path)).unlabeled) == 5 * ROWS


def test_the_binary_form_goes_first(tmp_path: Path) -> None:
    binary, python = FORMS["cifar10"]
    write(python, tmp_path, {})
    extract(binary, tmp_path)
    assert str(tmp_path / binary.folder) in open_dataset("cifar10", str(tmp_path), unlabeled="train").note


def test_md5_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    form = FORMS["cifar10"][0]
    path = write(form, tmp_path)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(FORMS, "cifar10", (dataclasses.replace(form, md5=digest),))
    open_dataset("cifar10", str(tmp_path), unlabeled="train")
    write(form, tmp_path, content(form, seed=50))
    assert f"the published archive has {digest}" in refused(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_a_truncated_archive(tmp_path: Path, keep: float) -> None:
    path = write(FORMS["cifar10"][0], tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if keep < 1 else int(keep)])
    refused(tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    (tmp_path / FORMS["cifar10"][0].archive).write_bytes(b"<html>not found</html>" * 100)
    assert "truncated or damaged" in refused(tmp_path)


@pytest.mark.parametrize("put", [write, extract])
def test_a_member_that_is_missing(tmp_path: Path, put: Callable[..., Path]) -> None:
    form = FORMS["cifar10"][0]
    files = content(form)
    del files["data_batch_3.bin"]
    put(form, tmp_path, files)
    assert "data_batch_3.bin" in refused(tmp_path)


def spoiled(form: Form, name: str, raw: bytes) -> Files:
    return content(form) | {name: raw}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-1], "12291 bytes, need 12292"),
        (lambda raw: raw + b"\0", "12293 bytes, need 12292"),
        (lambda raw: b"\x0a" + raw[1:], "to 10, need 0 to 9"),
    ],
)
def test_binary_schema(tmp_path: Path, spoil: Callable[[bytes], bytes], message: str) -> None:
    form = FORMS["cifar10"][0]
    write(form, tmp_path, spoiled(form, "data_batch_2.bin", spoil(content(form)["data_batch_2.bin"])))
    line = refused(tmp_path)
    assert "data_batch_2.bin" in line and message in line


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=4)


PIXELS = np.zeros((ROWS, 3072), np.uint8)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a pickle"),
        (pickled({b"data": PIXELS, b"labels": [0] * ROWS})[:-40], "not a pickle"),
        (pickled([1, 2]), "need data uint8 [4, 3072]"),
        (pickled({b"labels": [0] * ROWS}), "need data"),
        (pickled({b"data": PIXELS.astype(np.float32), b"labels": [0] * ROWS}), "need data uint8"),
        (pickled({b"data": PIXELS[:2], b"labels": [0] * ROWS}), "need data uint8"),
        (pickled({b"data": PIXELS}), "need labels, a list of 4 integers"),
        (pickled({b"data": PIXELS, b"labels": [0, 1, 2]}), "need labels"),
        (pickled({b"data": PIXELS, b"labels": [0, 1, 2, "3"]}), "need labels"),
        (pickled({b"data": PIXELS, b"labels": [0, 1, 2, 10]}), "labels from 0 to 10"),
        (pickled({b"data": PIXELS, b"labels": [0, 1, 2, -7]}), "labels from -1 to 2"),
        (pickled({b"data": PIXELS, b"labels": [0, 1, 2, 1 << 200]}), "labels from 0 to"),
    ],
)
def test_pickle_schema(tmp_path: Path, raw: bytes, message: str) -> None:
    form = FORMS["cifar10"][1]
    write(form, tmp_path, spoiled(form, "data_batch_2", raw))
    line = refused(tmp_path)
    assert "data_batch_2" in line and message in line


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("member", ["data_batch_1", "batches.meta"])
def test_an_evil_pickle_is_not_executed(tmp_path: Path, member: str) -> None:
    mark = tmp_path / "executed"
    raw = pickled({b"data": PIXELS, b"labels": [0] * ROWS, b"label_names": Evil(mark)})
    form = FORMS["cifar10"][1]
    write(form, tmp_path, spoiled(form, member, raw))
    assert "posix.mkdir" in refused(tmp_path)
    assert not mark.exists()
    pickle.loads(raw)
    assert mark.exists(), "the pickle of this test does nothing, so the test proves nothing"


@pytest.mark.parametrize("name", ["builtins eval", "numpy load", "numpy.core.multiarray scalar", "os system"])
def test_the_allow_list_names_nothing_else(name: str) -> None:
    module, function = name.split()
    with pytest.raises(ValueError, match=f"there: .*{module}.{function}"):
        loads(f"c{module}\n{function}\n.".encode(), "there")


def test_names_of_the_classes(tmp_path: Path) -> None:
    form = FORMS["cifar100"][0]
    write(form, tmp_path, spoiled(form, form.names, b"apple\nbear\n"))
    assert "need the names of 100 classes" in refused(tmp_path, "cifar100")
