"""Trained networks as ONNX and torch.export's programs: the same logits, in the other runtime."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from toys import CHEAP, TINY, toy_images

from sgl_fast import export
from sgl_fast.run import exported
from sgl_fast.run.recipe import Recipe
from sgl_fast.run.retrain import Retraining
from sgl_fast.run.weights import AVERAGE, WEIGHTS, load_network, save_network


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of one folder, of other weights: what was trained, and its average."""
    folder = tmp_path_factory.mktemp("run")
    for seed, name in enumerate((WEIGHTS, AVERAGE)):
        run = Retraining(CHEAP, toy_images(), Recipe(**TINY, seed=seed))
        save_network(folder / name, run.network.state_dict(), run.about())
    return folder


def logits(file: Path, images: torch.Tensor) -> torch.Tensor:
    """Of a file, in the runtime that it is for."""
    if file.suffix == ".pt2":
        return torch.export.load(file).module()(images).detach()
    from onnxruntime import InferenceSession

    session = InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["sgl_fast"])["num_classes"] == 3
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@pytest.mark.parametrize("suffix", export.FORMATS)
@pytest.mark.parametrize("average", [False, True])
def test_logits_are_the_networks(suffix: str, average: bool, trained: Path, tmp_path: Path) -> None:
    """The weights on normalised images, their average on bytes; a batch of another size than at the export."""
    out = tmp_path / f"network{suffix}"
    words = ["--average", "--pixels"] if average else []
    assert export.main([str(trained), "--out", str(out), *words]) == 0
    images = torch.randint(256, (5, 3, 16, 16)).byte()
    plain = (images.float() / 255 - 0.5) / 0.25
    expected = load_network(trained, average)(plain).detach()
    assert torch.allclose(logits(out, images if average else plain), expected, atol=1e-5)


def test_the_file_lies_in_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([str(trained / WEIGHTS)]) == 0
    file = trained / "network.onnx"
    assert file.is_file()
    said = capsys.readouterr().out
    assert said.startswith(f"{file}: images (N, 3, 16, 16), float32, normalised; by onnxruntime its logits are off by ")


def test_a_program_of_other_logits_is_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*given: object) -> exported.Program:
        found = exported.to_program(*given)
        return found._replace(run=lambda x: found.run(x) + 0.1)

    monkeypatch.setitem(exported.FORMATS, ".pt2", wrong)
    assert export.main([str(trained), "--out", str(tmp_path / "a.pt2")]) == 2 and not any(tmp_path.iterdir())
    assert "the exported program is wrong: torch.export gives logits that are off by" in capsys.readouterr().err


def test_what_cannot_be_exported_is_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    lines = {
        (): "need the folder of an evaluation: RUN",
        (str(tmp_path),): f"no trained network in {tmp_path}: the end of a training writes {WEIGHTS}",
        (str(trained), "--out", "a.xml"): "--out: need a name in .onnx or .pt2; got a.xml",
        (str(trained), "--out", str(tmp_path / "no" / "a.pt2")): f"--out: there is no folder {tmp_path}/no",
        (str(trained),): "ONNX needs onnxscript: pip install sgl-fast[onnx]",
    }
    for words, line in lines.items():
        assert export.main(list(words)) == 2
        assert capsys.readouterr().err == f"python -m sgl_fast.export: {line}\n"


def test_onnx_is_run_by_its_reference_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model = torch.nn.Linear(3, 2)
    program = exported.to_onnx(model, torch.rand(2, 3), {})
    x = torch.rand(4, 3)
    assert program.by == "ONNX's reference evaluator" and torch.allclose(program.run(x), model(x), atol=1e-6)
    assert io.BytesIO(program.content).read(1)
