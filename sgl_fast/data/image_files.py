"""What a folder of images holds: one rule, for all that read one."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path

from PIL import Image

from ..errors import reason

# Formats that Pillow names, but opens with a program or a library that it lacks, or not at all.
_NO_IMAGES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"})
_SYSTEM = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information")
    + ("desktop.ini", "ehthumbs.db", "icon\r", "thumbs.db")
)
_SPLITS = frozenset(("dev", "eval", "test", "testing", "train", "training", "val", "valid", "validation"))
_IMAGE, _FOLDER, _BESIDE = "image", "folder", "images that lie in no class's folder"


class LeftOut(Counter[str]):
    """How many entries of the folders that were read are no images, by the words that say why."""

    def __str__(self) -> str:
        """Words for the user, with a semicolon in front; none where nothing was left out."""
        parts = [f"{count} {words}" for words, count in self.most_common(5)]
        rest = self.total() - sum(count for _, count in self.most_common(5))
        return f"; left out: {', '.join(parts + [f'{rest} others'] * (rest > 0))}" if parts else ""


@cache
def suffixes() -> frozenset[str]:
    """Of every format that Pillow opens by itself, in lower case."""
    known = Image.registered_extensions()  # which loads the formats
    readable = {*Image.OPEN, "MPO"} - _NO_IMAGES
    return frozenset(suffix.lower() for suffix, form in known.items() if form in readable)


def image_files(root: Path, left: LeftOut) -> list[Path]:
    """The images under a folder, at any depth: its own by name, then those of its folders, by name. Links are followed.

    left   counts the rest: hidden names (a leading dot) and names that operating systems leave behind, other suffixes,
           broken links, and folders that were read before, which links may lead to
    """
    found: list[Path] = []
    folders, seen = [root], set()
    while folders:
        folder = folders.pop()
        entries = _entries(folder)
        place = folder.stat()
        if (place.st_dev, place.st_ino) in seen:
            left["folders read before"] += 1
            continue
        seen.add((place.st_dev, place.st_ino))
        below = []
        for entry, kind in entries:
            if kind == _IMAGE:
                found.append(folder / entry.name)
            elif kind == _FOLDER:
                below.append(folder / entry.name)
            else:
                left[kind] += 1
        folders += reversed(below)
    return found


def class_files(root: Path, left: LeftOut) -> dict[str, list[Path]]:
    """The images of every class, by the name of its folder in `root`, as `image_files` finds them; both sorted."""
    if not os.path.isdir(root):
        raise ValueError(f"{root}: no such folder")
    kinds = _entries(root)
    names = [entry.name for entry, kind in kinds if kind == _FOLDER]
    if len(names) > 1 and _SPLITS.issuperset(name.lower() for name in names):
        raise ValueError(f"{root}: {', '.join(names)} are splits, no classes; give one of them, as {root / names[0]}")
    files = {name: image_files(root / name, left) for name in names}
    left.update(_BESIDE if kind == _IMAGE else kind for _, kind in kinds if kind != _FOLDER)
    empty = [name for name, found in files.items() if not found]
    if len(files) < 2 or empty:
        found = f"{empty[0]}/ has no images" if empty else f"it has {'only ' + names[0] if names else 'none'}"
        raise ValueError(f"{root}: need two or more folders of images, one for each class; {found}{left}")
    return files


def check_classes(root: Path, classes: list[str], name: str, found: list[str]) -> None:
    """ValueError where a folder of root has other classes than train/, or in another order."""
    if found != classes:
        odd = sorted(set(classes).symmetric_difference(found))[:1]
        alone = "".join(f"; {one} is in {'train' if one in classes else name}/ alone" for one in odd)
        raise ValueError(
            f"{root}: the {len(found)} classes of {name}/ are not the {len(classes)} of train/, in their order{alone}"
        )


def _entries(folder: Path) -> list[tuple[os.DirEntry[str], str]]:
    """What is in a folder, by name, and what each is: an image, a folder, or the words that say why it is neither."""
    try:
        with os.scandir(folder) as found:
            return [(entry, _kind(entry)) for entry in sorted(found, key=lambda entry: entry.name)]
    except OSError as error:
        raise ValueError(f"{folder}: cannot read the folder ({reason(error)})") from None


def _kind(entry: os.DirEntry[str]) -> str:
    name = entry.name
    if name.startswith("."):
        return "hidden"
    if name.lower() in _SYSTEM:
        return "of the system"
    try:  # these ask the file system about links only
        if entry.is_dir():
            return _FOLDER
        if not entry.is_file():
            return "broken links" if entry.is_symlink() else "that are no files"
    except OSError:
        return "broken links"
    suffix = os.path.splitext(name)[1].lower()
    if suffix in suffixes():
        return _IMAGE
    return f"files of {suffix:.12}" if suffix else "files without a suffix"
