"""Trained networks as programs of other runtimes: ONNX, and torch.export's. Each is run once before it is written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from ..files import replacing
from .weights import KEY, load_network

Run = Callable[[Tensor], Tensor]


class Program(NamedTuple):
    """A network as a file's content, what runs it here, and that runtime's name."""

    content: bytes
    run: Run
    by: str


class OfPixels(nn.Module):
    """Logits of images of bytes (N, 3, H, W): scaled to [0, 1], normalised by mean and std, and into the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def normalised(self, images: Tensor) -> Tensor:
        return (images.float() / 255 - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(self.normalised(images))
        return logits


def export_network(source: Path, out: Path, average: bool = False, pixels: bool = False) -> str:
    """Writes a trained network to `out`, .onnx or .pt2, once what is written agrees; a line on it for its user.

    The program takes "images" (N, 3, H, W) of the size trained on, any N, float32 as normalised for the training or,
    with `pixels`, uint8, and gives "logits" (N, num_classes); its metadata has `network.about` as JSON, "sgl_fast".
    ValueError of one line: no network, a package that is missing, a program that gives other logits.
    """
    network = load_network(source, average)
    height, width = network.about["image_size"]
    whole = OfPixels(network, network.about["mean"], network.about["std"]).eval()
    images = torch.randint(0, 256, (3, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()
    model, inputs = (whole, images) if pixels else (network, whole.normalised(images))
    program = FORMATS[out.suffix](model, inputs[:2], {KEY: json.dumps(network.about)})
    with torch.no_grad():
        expected, found = model(inputs), program.run(inputs)
    off = ((found - expected).abs().max() / expected.abs().max()).item()
    if not off < 1e-3:
        raise ValueError(f"the exported program is wrong: {program.by} gives logits that are off by {off:.1e}")
    with replacing(out) as file:
        file.write(program.content)
    kind = "bytes" if pixels else "float32, normalised"
    return f"{out}: images (N, 3, {height}, {width}), {kind}; by {program.by} its logits are off by {off:.1e}"


def to_onnx(model: nn.Module, images: Tensor, metadata: Mapping[str, str]) -> Program:
    """By torch's exporter, run by onnxruntime where it is installed, else by ONNX's reference evaluator."""
    try:
        import onnx.reference  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"ONNX needs {error.name}: pip install sgl-fast[onnx]") from None
    names: Any = {"input_names": ["images"], "output_names": ["logits"]}
    found = _quiet(
        lambda: torch.onnx.export(model, (images,), **names, dynamo=True, dynamic_shapes=_any_batch(), verbose=False)
    )
    found.model.metadata_props.update(metadata)
    proto = found.model_proto
    content: bytes = proto.SerializeToString()
    run: Any
    try:
        from onnxruntime import InferenceSession
    except ImportError:
        run, by = onnx.reference.ReferenceEvaluator(proto).run, "ONNX's reference evaluator"
    else:
        run, by = InferenceSession(content, providers=["CPUExecutionProvider"]).run, "onnxruntime"
    return Program(content, lambda x: torch.from_numpy(run(None, {"images": x.numpy()})[0]), by)


def to_program(model: nn.Module, images: Tensor, metadata: Mapping[str, str]) -> Program:
    """By torch.export, and read again."""
    file = io.BytesIO()
    program = _quiet(lambda: torch.export.export(model, (images,), dynamic_shapes=_any_batch()))
    torch.export.save(program, file, extra_files=dict(metadata))
    file.seek(0)
    return Program(file.getvalue(), torch.export.load(file).module(), "torch.export")


FORMATS: dict[str, Callable[[nn.Module, Tensor, Mapping[str, str]], Program]] = {".onnx": to_onnx, ".pt2": to_program}


def _any_batch() -> Any:
    return ({0: Dim("batch")},)


def _quiet(export: Callable[[], Any]) -> Any:
    """Without what exporters warn of themselves."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export()
