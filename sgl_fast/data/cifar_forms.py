"""The published files of CIFAR-10 and CIFAR-100: a pickle-free archive and one of pickles, for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One archive and what is in it.

    archive, md5        its file name and published checksum, None where only the schema is checked
    folder              the folder in it, which is also what it is extracted to
    train, test, names  files in that folder: training images, test images, names of the classes
    rows                images in each training file; the test file has test_rows
    label               pickles: the key of the labels; binary: the number of label bytes in a row, the last one counts
    """

    archive: str
    md5: str | None
    folder: str
    train: tuple[str, ...]
    test: str
    names: str
    names_key: bytes
    classes: int
    label: bytes | int
    rows: int
    test_rows: int = 10_000

    @property
    def most(self) -> int:
        """Bytes that no file of it exceeds: pixels, labels and names of files."""
        return max(self.rows, self.test_rows) * (3 * 32 * 32 + 128) + (1 << 16)

    @property
    def whole(self) -> int:
        """Bytes that all of its files together do not exceed."""
        return (len(self.train) + 2) * self.most


_CIFAR10 = (
    Form(
        archive="cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test="test_batch.bin",
        names="batches.meta.txt",
        names_key=b"",
        classes=10,
        label=1,
        rows=10_000,
    ),
    Form(
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test="test_batch",
        names="batches.meta",
        names_key=b"label_names",
        classes=10,
        label=b"labels",
        rows=10_000,
    ),
)
_CIFAR100 = (
    Form(
        archive="cifar-100-binary.tar.gz",
        md5="03b5dce01913d631647c71ecec9e9cb8",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        names="fine_label_names.txt",
        names_key=b"",
        classes=100,
        label=2,
        rows=50_000,
    ),
    Form(
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        names="meta",
        names_key=b"fine_label_names",
        classes=100,
        label=b"fine_labels",
        rows=50_000,
    ),
)
FORMS: dict[str, tuple[Form, ...]] = {"cifar10": _CIFAR10, "cifar100": _CIFAR100}
SOURCE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def archives(name: str) -> str:
    """Words on the files that "cifar10" or "cifar100" is read from: either of its archives, or what it unpacks to."""
    files = " or ".join(f"{form.archive} (md5 {form.md5})" for form in FORMS[name])
    return f"{files}, from {SOURCE}"
