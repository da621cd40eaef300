"""What a folder of images holds: the same rule for folders of classes, unlabelled images and ImageNet's two folders."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sources import paint, refused

from sgl_fast.data import open_dataset
from sgl_fast.data.image_files import LeftOut, class_files, image_files, suffixes

Reader = Callable[[Path], tuple[set[str], str]]


def names(paths: list[Path]) -> list[str]:
    return [p.name for p in paths]


def litter(folder: Path) -> None:
    """What operating systems, tools and people leave beside images."""
    for name in ("._a.png", ".hidden.png", "Thumbs.db", "desktop.ini", "notes.txt", "more.TXT", "README"):
        (folder / name).write_bytes(b"no image")
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"):
        paint(folder / name / "copy.png", (1, 1, 1))
    os.symlink(folder / "nowhere.png", folder / "broken.png")
    os.symlink(folder / "self.png", folder / "self.png")
    os.mkfifo(folder / "pipe.png")
    os.symlink(folder, folder / "again")


LITTER = {
    "hidden": 4,
    "of the system": 4,
    "files of .txt": 2,
    "files without a suffix": 1,
    "broken links": 2,
    "that are no files": 1,
    "folders read before": 1,
}


def test_litter_is_left_out_and_counted(tmp_path: Path) -> None:
    paint(tmp_path / "b.png", (0, 0, 0))
    paint(tmp_path / "deep" / "er" / "a.png", (0, 0, 0))
    litter(tmp_path)
    left = LeftOut()
    assert names(image_files(tmp_path, left)) == ["b.png", "a.png"]
    assert dict(left) == LITTER
    assert str(left) == (
        "; left out: 4 hidden, 4 of the system, 2 broken links, 2 files of .txt, 1 files without a suffix, 2 others"
    )
    assert str(LeftOut()) == ""


def read_classes(root: Path) -> tuple[set[str], str]:
    data = open_dataset(f"folder:{root / 'train'}", image_size=8)
    return {f"{len(data.train[0]) + len(data.val[0]) + len(data.test[0])} images"}, data.note


def read_unlabeled(root: Path) -> tuple[set[str], str]:
    data = open_dataset("embedded", unlabeled=str(root / "train"))
    return {f"{len(data.unlabeled)} images"}, data.note


def read_imagenet(root: Path) -> tuple[set[str], str]:
    data = open_dataset("imagenet", str(root), image_size=8)
    index = json.loads((root / "sgl_split_seed0.json").read_text())
    assert all((root / p).is_file() for part in ("train", "val", "unlabeled") for p in index[part])
    again = open_dataset("imagenet", str(root), image_size=8)
    assert again.train[0].paths == data.train[0].paths  # type: ignore[union-attr]
    return {f"{len(class_files(root / 'train', LeftOut()))} classes"}, data.note


@pytest.mark.parametrize("read", [read_classes, read_unlabeled, read_imagenet])
def test_every_reader_takes_the_rule(tmp_path: Path, read: Reader) -> None:
    """40 images a class, some below images/, some links; litter in the classes' folders and beside them."""
    for name in ("n01", "n02"):
        for number in range(20):
            paint(tmp_path / "train" / name / f"{number}.JPEG", (9, 9, 9))
            paint(tmp_path / "train" / name / "images" / f"{number}.bmp", (9, 9, 9))
        paint(tmp_path / "val" / name / "images" / "0.tif", (9, 9, 9))
    before = read(tmp_path)[0]
    (tmp_path / "sgl_split_seed0.json").unlink(missing_ok=True)
    litter(tmp_path / "train" / "n01" / "images")
    for name in (".DS_Store", "notes.txt"):
        (tmp_path / "train" / name).touch()
    paint(tmp_path / "train" / ".ipynb_checkpoints" / "0.png", (1, 1, 1))
    found, note = read(tmp_path)
    assert found == before and "left out: 6 hidden, 4 of the system, 3 files of .txt" in note


def test_every_suffix_that_pillow_reads(tmp_path: Path) -> None:
    assert {".jpg", ".jfif", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".webp", ".bmp", ".png", ".mpo"} <= suffixes()
    assert not {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".wmf", ".h5", ".txt", ""} & suffixes()
    wanted = ("png", "JPG", "jfif", "tif", "TIFF", "gif", "ppm", "pgm", "webp", "bmp", "tga", "ico", "jp2", "pcx")
    for suffix in wanted:
        for name in ("a", "b"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L" if suffix == "pgm" else "RGB", (16, 16), 0).save(tmp_path / name / f"{suffix}.{suffix}")
    (tmp_path / "a" / "paper.pdf").touch()
    data = open_dataset(f"folder:{tmp_path}", image_size=8)
    count = sum(len(images) for images, _ in (data.train, data.val, data.test))
    assert count == 2 * len(wanted) and "left out: 1 files of .pdf" in data.note


def test_links_are_followed_once(tmp_path: Path) -> None:
    paint(tmp_path / "store" / "a.png", (0, 0, 0))
    (tmp_path / "set").mkdir()
    for link, target in (("one", "store"), ("two", "store"), ("up", "set"), ("file.png", "store/a.png")):
        os.symlink(tmp_path / target, tmp_path / "set" / link)
    left = LeftOut()
    found = image_files(tmp_path / "set", left)
    assert [str(p.relative_to(tmp_path / "set")) for p in found] == ["file.png", "one/a.png"]
    assert dict(left) == {"folders read before": 2}


def test_names_of_any_kind_survive(tmp_path: Path) -> None:
    odd = ["größe", "two\nlines", "50% $x_1$", "日本", os.fsdecode(b"\xff\xfe")]
    for name in odd:
        for number in range(5):
            paint(tmp_path / name / f"{number}\t.png", (0, 0, 0))
    data = open_dataset(f"folder:{tmp_path}")
    assert data.classes == tuple(sorted(odd)) and data.note.isprintable()
    (tmp_path / "two\nlines" / "0\t.png").write_bytes(b"")
    assert "two\\nlines/0\\t.png: not a readable image" in refused(f"folder:{tmp_path}")
    (tmp_path / "an\rempty one").mkdir()
    assert "an\\rempty one/ has no images" in refused(f"folder:{tmp_path}")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("folder", ["", "b", "b/deep"])
def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, folder: str
) -> None:
    for name in ("a", "b", "b/deep"):
        paint(tmp_path / name / "0.png", (0, 0, 0))
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path) == tmp_path / folder:
            raise error
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    line = f"{tmp_path / folder}: cannot read the folder ({error.strerror})"
    assert refused(f"folder:{tmp_path}") == line
    assert refused("embedded", unlabeled=str(tmp_path)) == line


def test_layouts_whose_mending_is_known_say_it(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01", "n02"):
            paint(tmp_path / "ILSVRC" / "Data" / "CLS-LOC" / split / name / "0.JPEG", (0, 0, 0))
    deep = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    assert f"{deep} has one" in refused("imagenet", str(tmp_path))
    (deep / "val").rename(deep / "dev")
    assert f"dev, train are splits, no classes; give one of them, as {deep / 'dev'}" in refused(f"folder:{deep}")
    for number in range(40):
        for name in ("n01", "n02"):
            paint(tmp_path / "train" / name / f"{number}.JPEG", (0, 0, 0))
        paint(tmp_path / "val" / f"{number}.JPEG", (0, 0, 0))
    line = refused("imagenet", str(tmp_path), image_size=8)
    assert "it has none" in line and "40 images that lie in no class's folder" in line
    paint(tmp_path / "val" / "images" / "0.JPEG", (0, 0, 0))
    assert "it has only images" in refused("imagenet", str(tmp_path), image_size=8)
    for name in ("n01", "n03"):
        paint(tmp_path / "val" / name / "0.JPEG", (0, 0, 0))
    (tmp_path / "val" / "images" / "0.JPEG").unlink()
    (tmp_path / "val" / "images").rmdir()
    assert "n02 is in train/ alone" in refused("imagenet", str(tmp_path), image_size=8)


@pytest.mark.parametrize("side", [0, -1, 4097, 10**9, 2.5, True])
def test_a_side_that_no_image_should_have(tmp_path: Path, side: Any) -> None:
    assert "image_size" in refused(f"folder:{tmp_path}", image_size=side)


def test_numpys_sides_are_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(5):
            paint(tmp_path / name / f"{number}.png", (0, 0, 0))
    assert open_dataset(f"folder:{tmp_path}", image_size=np.int64(6)).image_size == (6, 6)  # type: ignore[arg-type]
