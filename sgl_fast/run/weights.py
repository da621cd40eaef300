"""Trained networks as files: weights.safetensors, with what is needed to build the network, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import reason
from ..files import replacing, user_path
from ..genotype.genotype import Genotype
from ..nets.network import Network

WEIGHTS, AVERAGE = "weights.safetensors", "weights_ema.safetensors"
KEY = "sgl_fast"  # of the metadata: JSON of a genotype, the network's sizes, and the images' mean and deviation
SIZES = ("channels", "layers", "num_classes", "imagenet", "auxiliary", "auxiliary_second_bn")


def save_network(path: Path, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Atomically. weights: of its state_dict; about: `SIZES`, "genotype", and what else a user should know"""
    plain = {name: t.detach().cpu().contiguous() for name, t in weights.items()}
    data = save(plain, {KEY: json.dumps(about)})
    with replacing(path) as file:
        file.write(data)


def load_network(source: str | Path, average: bool = False) -> Network:
    """A network that `python -m sgl_fast.evaluate` has trained, in evaluation mode.

    source    the run's folder, or a weights.safetensors
    average   of a folder: the moving average of the weights, where the training kept one (--ema)
    `network.about` has the images' "mean" and "std", "classes" and "image_size" of the data that it was trained on.
    ValueError of one line where there is none.

    >>> load_network("runs/nowhere")
    Traceback (most recent call last):
    ValueError: no trained network in runs/nowhere: the end of a training writes weights.safetensors
    """
    path = user_path(source)
    if path.is_dir():
        path = path / (AVERAGE if average else WEIGHTS)
    if not path.is_file():
        raise ValueError(f"no trained network in {source}: the end of a training writes {WEIGHTS}")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(KEY, "null"))
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        genotype, sizes = Genotype(**about["genotype"]), {name: about[name] for name in SIZES}
        with torch.random.fork_rng(devices=[]):
            network = Network(genotype, **sizes)
        network.load_state_dict(weights)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError, OSError) as error:
        raise ValueError(f"{path}: holds no network of an evaluation ({reason(error)})") from None
    network.about = about
    return network.eval()
