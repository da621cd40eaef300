"""CIFAR's archives that are missing: named, and fetched where that is asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_data_cifar import PUBLISHED, forms, refused, write  # noqa: F401  (a fixture that all tests here use)
from torchvision import datasets
from torchvision.datasets import utils

from sgl_fast import evaluate, search
from sgl_fast.data import find, open_dataset
from sgl_fast.data.cifar_forms import FORMS

Main = Callable[[list[str]], int]


def test_missing_data_is_named_and_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(url: str, root: str, filename: str, md5: str) -> None:
        calls.append((filename, md5))
        (Path(root) / filename).write_bytes(b"half")
        raise RuntimeError("the line is dead")

    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(utils, "download_url", called)
    assert not find("cifar10", tmp_path)
    assert "cifar-10-binary.tar.gz" in refused(tmp_path) and calls == []
    with pytest.raises(ValueError, match=r"^download: cifar10 from https?://\S+ failed \(the line is dead\)$"):
        open_dataset("cifar10", str(tmp_path), unlabeled="train", download=True)
    assert calls == [("cifar-10-python.tar.gz", None)]
    assert list(tmp_path.iterdir()) == []


def test_processes_that_begin_together_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them sees an archive before it is whole. Threads stand for processes: each opens the lock anew."""
    calls: list[str] = []

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        calls.append(url)
        (Path(root) / filename).write_bytes(b"half")
        time.sleep(0.3)
        assert not find("cifar10", tmp_path)
        write(next(form for form in FORMS["cifar10"] if form.archive == filename), Path(root))

    monkeypatch.setattr(utils, "download_url", fetch)
    with ThreadPoolExecutor(4) as pool:
        opened = [pool.submit(open_dataset, "cifar10", str(tmp_path), "train", download=True) for _ in range(4)]
        assert len({one.result().note for one in opened}) == 1
    assert len(calls) == 1 and [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("main", [search.main, evaluate.main])
def test_the_commands_fetch_what_is_missing(
    main: Callable[[list[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By torchvision, whose place a stand-in takes, where --download asks for it; else a line says what is missing."""
    calls: list[str] = []

    def fetch(url: str, root: str, filename: str, md5: str) -> None:
        calls.append(url)
        form = next(form for both in FORMS.values() for form in both if form.archive == filename)
        assert url.endswith(f"/{filename}") and md5 is form.md5
        write(form, Path(root))

    monkeypatch.setattr(utils, "download_url", fetch)
    arguments = ["--data", "cifar10", "--root", str(tmp_path), "--channels", "4", "--batch-size", "2", "--epochs", "1"]
    arguments += ["--quiet", "--figures", "none", "--layers", "3", "--limit", "2", "--out", str(tmp_path / "run")]
    wanted = ["cifar-10-python.tar.gz", "cifar-100-python.tar.gz"]
    if main is search.main:
        arguments += ["--nodes", "1"]
    else:
        arguments, wanted = [*arguments, "--genotype", "DARTS_V2"], wanted[:1]
    assert main(arguments) == 2 and calls == []
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "--download fetches it" in line and "www.cs.toronto.edu/~kriz/cifar.html" in line
    for form in FORMS["cifar10"]:
        assert f"{form.archive} (md5 {form.md5})" in line
    assert main([*arguments, "--download"]) == 0
    assert [url.rpartition("/")[2] for url in calls] == wanted
    assert main(["--resume", str(tmp_path / "run"), "--quiet", "--figures", "none"]) == 0 and len(calls) == len(wanted)


def test_the_published_checksums(tmp_path: Path) -> None:
    """Of all four archives, as torchvision and the page of CIFAR have them."""
    sums = [form.md5 for both in PUBLISHED.values() for form in both]
    assert len(set(sums)) == 4 and all(len(str(md5)) == 32 for md5 in sums)
    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        assert kind.tgz_md5 in [form.md5 for form in PUBLISHED[name]]
