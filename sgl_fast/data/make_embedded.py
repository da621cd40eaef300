"""Make fashion_mnist_subset.npz, the data that ships in the package, from the full Fashion-MNIST.

    python -m sgl_fast.data.make_embedded --source /usr/share/datasets/fashion-mnist

2,000 training, 2,000 validation and 1,000 unlabelled images (their labels are not stored) from the training file,
1,000 test images from the test file, every class equally often, chosen by a fixed seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ..files import user_path
from .idx import read_labeled
from .locate import DEBIAN_FASHION_MNIST
from .splits import split_by_class

DESCRIPTION = "Make fashion_mnist_subset.npz, the data in the package, from the full Fashion-MNIST."
EMBEDDED = Path(__file__).with_name("fashion_mnist_subset.npz")
_SEED = 0


def subset(source: Path) -> dict[str, np.ndarray]:
    """The arrays of the npz: images uint8 [M, 28, 28], labels uint8 [M]."""
    images, labels = read_labeled(source, "train")
    train, val, unlabeled = split_by_class(labels, (1 / 30, 1 / 30, 1 / 60), _SEED)
    test_images, test_labels = read_labeled(source, "t10k")
    (test,) = split_by_class(test_labels, (1 / 10,), _SEED)
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "val_images": images[val],
        "val_labels": labels[val],
        "unlabeled_images": images[unlabeled],
        "test_images": test_images[test],
        "test_labels": test_labels[test],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sgl_fast.data.make_embedded", description=DESCRIPTION)
    parser.add_argument("--source", type=user_path, default=DEBIAN_FASHION_MNIST, help="folder of the IDX files")
    parser.add_argument("--out", type=user_path, default=EMBEDDED, help="npz file to write")
    args = parser.parse_args(argv)
    try:
        arrays = subset(args.source)
    except ValueError as error:
        print(f"error: --source: {error}", file=sys.stderr)
        return 2
    np.savez_compressed(args.out, allow_pickle=False, **arrays)
    print(f"{args.out}: {args.out.stat().st_size} bytes, " + ", ".join(f"{k} {v.shape}" for k, v in arrays.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
