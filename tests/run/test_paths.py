"""Paths as users write them, and files that say, or hold, more than they may."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sources import paint

from sgl_fast.data import find, open_dataset
from sgl_fast.data.cifar_forms import FORMS
from sgl_fast.files import read_bytes, read_text, user_path, write_text_atomic
from sgl_fast.genotype.published import read_genotype
from sgl_fast.run import evaluate_args, search_args, search_settings
from sgl_fast.run.run_folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ~ is, and where no run is."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SGL_FAST_DATA", raising=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def test_data_below_the_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label in "ab":
        for number in range(5):
            paint(home / "pics" / label / f"{number}.png", (0, 0, 0))
    assert find("folder:~/pics") and not find("folder:~/nothing") and not find("folder:~nobody-42/pics")
    assert open_dataset("folder:~/pics").image_size == (8, 8)
    assert len(open_dataset("embedded", unlabeled="~/pics").unlabeled) == 10
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (home / f"{stem}-ubyte").touch()
    assert find("fashion_mnist", "~")
    monkeypatch.setenv("SGL_FAST_DATA", "~/")
    assert find("fashion_mnist")


def test_options_and_python_know_the_home_folder(home: Path) -> None:
    genotype = json.loads(read_genotype("DARTS_V2").to_json())
    (home / "g.json").write_text(json.dumps(genotype))
    assert read_genotype("~/g.json") == read_genotype("DARTS_V2")
    assert evaluate_args.parser().parse_args(["--out", "~/run"]).out == home / "run"
    args = search_args.parser().parse_args(["--config", "~/c.toml", "--data", "folder:~/pics"])
    (home / "c.toml").write_text('out = "~/run"\nroot = "~/data"\nunlabeled = "~/u"\n')
    settings = search_settings.settings_of(search_args.given_of(args), "cpu")
    assert [settings[name] for name in ("data", "root", "unlabeled")] == [
        f"folder:{home / 'pics'}",
        str(home / "data"),
        str(home / "u"),
    ]
    assert args.out == home / "run"
    with RunFolder.create("~/run") as run:
        run.begin({})
    with RunFolder.open("~/run"):
        assert (home / "run" / "config.json").is_file()
    write_text_atomic("~/note", "here")
    assert read_text("~/note", 4) == "here" and list(Path.cwd().iterdir()) == []
    assert user_path("~nobody-42/x") == Path("~nobody-42/x")


def test_what_is_read_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_bytes(tmp_path / "file", 5) == b"12345"
    with pytest.raises(ValueError, match="it holds more than 4 bytes"):
        read_bytes(tmp_path / "file", 4)
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="no file"):
            read_bytes(path, 5)


def zeros(count: int) -> bytes:
    """A gzip stream of so many zeros, its members a megabyte each."""
    return gzip.compress(bytes(1 << 20)) * (count >> 20)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT))


def idx(root: Path, shape: tuple[int, ...], body: bytes) -> None:
    raw = gzip.compress(bytes((0, 0, 8, len(shape))) + struct.pack(f">{len(shape)}I", *shape)) + body
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (root / f"{stem}-ubyte.gz").write_bytes(raw)


def cifar(member: str, size: int, kind: bytes = tarfile.REGTYPE) -> Callable[[Path], object]:
    form = FORMS["cifar100"][0]
    return lambda root: (root / form.archive).write_bytes(header(f"{form.folder}/{member}", size, kind) + zeros(size))


def sparse(root: Path) -> None:
    """A small archive that declares 20 GB, as GNU's sparse files do."""
    form = FORMS["cifar100"][0]
    info = tarfile.TarInfo(f"{form.folder}/train.bin")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(20 << 30)}
    info.size = 512
    with tarfile.open(root / form.archive, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"1\n0\n512\n".ljust(512, b"\0")))


def extracted(root: Path) -> None:
    folder = root / FORMS["cifar100"][0].folder
    folder.mkdir()
    for name in ("train.bin", "test.bin", "fine_label_names.txt"):
        with (folder / name).open("wb") as file:
            file.truncate(20 << 30)


def nested(root: Path) -> None:
    for split in ("train", "val"):
        (root / split).mkdir()
    (root / "sgl_split_seed0.json").write_text("[" * 10**6)


BOMBS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "idx that holds more": (lambda r: idx(r, (9, 28, 28), zeros(1 << 30)), "fashion_mnist", "too long"),
    "idx that says more": (lambda r: idx(r, (1 << 20, 1 << 10, 4), zeros(1 << 30)), "fashion_mnist", "says its header"),
    "tar, a large member": (cifar("train.bin", 1 << 30), "cifar100", "more than"),
    "tar, a large name": (cifar("name", 1 << 30, tarfile.GNUTYPE_LONGNAME), "cifar100", "more than"),
    "tar, a large header": (cifar("name", 1 << 30, tarfile.XHDTYPE), "cifar100", "more than"),
    "tar, a large stranger": (cifar("other", 1 << 30), "cifar100", "more than"),
    "tar, sparse": (sparse, "cifar100", "more than"),
    "extracted files": (extracted, "cifar100", "more than"),
    "json, nested": (nested, "imagenet", "not a readable index"),
}


def test_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    """In a process that may allocate 600 MB beyond what its libraries need, where each bomb has a gigabyte or more."""
    for name, (put, _, _) in BOMBS.items():
        (tmp_path / name).mkdir()
        put(tmp_path / name)
    code = (
        "import resource, sys; from sgl_fast.data import cifar_files, open_dataset\n"
        "cifar_files._check_md5 = lambda form, path: None\n"  # which refuses them, too, and first
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)\n"
        "for data, root in zip(sys.argv[1::2], sys.argv[2::2]):\n"
        "    try:\n        open_dataset(data, root, unlabeled='train')\n"
        "    except ValueError as error:\n        print(error)\n"
    )
    places = [word for name, (_, data, _) in BOMBS.items() for word in (data, str(tmp_path / name))]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *places], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    for line, (name, (_, _, says)) in zip(done.stdout.splitlines(), BOMBS.items(), strict=True):
        assert says in line and str(tmp_path / name) in line


def test_a_bomb_in_place_of_the_embedded_data(tmp_path: Path) -> None:
    from sgl_fast.data.fashion_mnist import embedded

    with zipfile.ZipFile(tmp_path / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(80 << 20))
    with pytest.raises(ValueError, match="bad.npz: not the embedded data .it holds more than"):
        embedded(tmp_path / "bad.npz")


@pytest.mark.parametrize("content", [b"[" * 10**5, b'{"a":' * 10**5, b"\xff", b" " * (1 << 26 | 1), b"1" * 10**5])
def test_files_of_settings_are_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.json").write_bytes(content)
    args = search_args.parser().parse_args(["--config", str(tmp_path / "f.json")])
    for read in (lambda: read_genotype(str(tmp_path / "f.json")), lambda: search_args.given_of(args)):
        with pytest.raises(ValueError, match=r"f\.json") as caught:
            read()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["two\nlines.json", "bell\a.json", "\u2028.toml"])
def test_a_refusal_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    from sgl_fast import evaluate, search

    for path in (tmp_path / name, tmp_path / "nowhere" / name):
        for main, option in ((evaluate.main, "--genotype"), (search.main, "--config"), (evaluate.main, "--data")):
            if path.parent == tmp_path:
                path.write_text("{")
            value = f"folder:{path}" if option == "--data" else str(path)
            arguments = [option, value, *(["--genotype", "DARTS_V2"] if option == "--data" else [])]
            assert main([*arguments, "--out", str(tmp_path / "run")]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and said.rstrip("\n").isprintable()
    with pytest.raises(SystemExit):
        search.main([f"--{name}"])
    assert capsys.readouterr().err.count("\n") == 1
