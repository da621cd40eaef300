"""The step as a graph, replayed from a tape on the CPU, equals the step launched operator by operator."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import batch, space_of
from states import repeatable
from tape import SIZES, Tape, same, searches
from torch import Tensor

import sgl_fast
from sgl_fast.backends.choice import use_backend
from sgl_fast.nets.supernet import Supernet
from sgl_fast.search import main
from sgl_fast.sgl import step_graph
from sgl_fast.sgl.search import Search
from sgl_fast.sgl.step_graph import GraphedSteps

KINDS = {
    "darts": {"chunk": 3},
    "darts_minus": {"epochs": 3, "steps_per_epoch": 3},
    "p_darts": {"skip_dropout": 0.3},
    "pc_darts": {},
    "pc_darts_paper": {"method": "finite_difference"},
    "pc_darts_released": {
        "schedule": "released",
        "order": 1,
        "pretrain_epochs": 1,
        "steps_per_epoch": 3,
        "arch_start": 2,
    },
    "pc_darts_separate": {"schedule": "separate", "epochs": 1, "steps_per_epoch": 3},
    "pc_darts_gdas": {"relaxation": "gdas", "epochs": 3, "steps_per_epoch": 2},
    "pc_darts_drnas": {"relaxation": "drnas"},
    "pc_darts_adv": {"relaxation": "sdarts_adv", "epochs": 3, "steps_per_epoch": 3},
    "pc_darts_noisy": {"relaxation": "noisy_darts"},
    "pc_darts_fair": {"relaxation": "fair_darts"},
    "pc_darts_self": {"teacher": "self", "lr": 0.1, "warmup_epochs": 3, "steps_per_epoch": 1},
}


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize(("kind", "by"), [(kind, "cpu") for kind in KINDS] + [("darts", "reference")])
def test_a_graph_gives_the_numbers_of_launches(kind: str, by: str) -> None:
    """To the bit: weights, architectures, moments, statistics, records; new kinds of step on the way."""
    launched, graphed = searches(space_of(kind), **KINDS[kind])
    with use_backend(by):
        for step in range(6):
            want, got = launched.step(batch(step)), graphed.step(batch(step))
            graphed.synchronize()
            assert want == dict(got)
            assert same(launched, graphed), step
    assert graphed._graphs._graph is not None


@pytest.fixture
def pair() -> tuple[Search, Search]:
    return searches("pc_darts")


def test_a_batch_of_another_shape_is_captured_anew(pair: tuple[Search, Search]) -> None:
    for step, N in enumerate((4, 4, 4, 3, 3, 4)):
        want, got = (s.step(batch(step, N)) for s in pair)
        assert dict(want) == dict(got)
    assert same(*pair)


def test_a_batch_that_does_not_fit_is_refused(pair: tuple[Search, Search]) -> None:
    for step in range(3):
        pair[1].step(batch(step))
    bad = batch(3)
    bad.y_val = bad.y_val[:1]
    with pytest.raises(ValueError, match=r"need y_val \[4\]"):
        pair[1].step(bad)


def test_a_state_that_is_replaced_is_captured_anew(pair: tuple[Search, Search]) -> None:
    for step in range(6):
        if step == 3:
            for s in pair:
                s.w = s.w * 0.9
        for s in pair:
            s.step(batch(step))
    assert same(*pair)


def test_resumed_searches_and_what_was_handed_out(pair: tuple[Search, Search]) -> None:
    launched, graphed = pair
    for step in range(3):
        for s in pair:
            s.step(batch(step))
    state = {
        name: value.clone() if isinstance(value, Tensor) else value for name, value in launched.state_dict().items()
    }
    graphed.load_state_dict(state)
    for step in range(3, 6):
        for s in pair:
            s.step(batch(step))
    assert same(*pair) and not torch.equal(state["w"], graphed.w)


def test_tensors_from_before_the_graph_stay_as_they_were(pair: tuple[Search, Search]) -> None:
    _, graphed = pair
    graphed.step(batch(0))
    held, before = graphed.w, graphed.w.clone()
    for step in range(1, 4):
        graphed.step(batch(step))
    assert torch.equal(held, before) and not torch.equal(graphed.w, before)


def test_a_record_is_read_one_step_late(pair: tuple[Search, Search]) -> None:
    _, graphed = pair
    records = [graphed.step(batch(step)) for step in range(4)]
    assert [getattr(r, "known", True) for r in records] == [True, True, True, False]
    assert records[3]["train_loss"] and records[3].known  # type: ignore[attr-defined]


@pytest.mark.parametrize("steps_after", [0, 1])
def test_a_loss_that_is_not_finite_changes_nothing(pair: tuple[Search, Search], steps_after: int) -> None:
    """Named with its step, whether the next step or a look at the state finds it; the search can go on."""
    launched, graphed = pair
    for step in range(3):
        for s in pair:
            s.step(batch(step))
    bad = batch(3)
    bad.x_val[0] = float("nan")
    graphed.step(bad)
    with pytest.raises(FloatingPointError, match="step 3: val_loss of learner 0 is nan"):
        for step in range(steps_after):
            graphed.step(batch(4 + step))
        graphed.state_dict()
    assert same(launched, graphed)
    for s in pair:
        s.step(batch(3))
        s.step(batch(4))
        s.synchronize()
    assert same(launched, graphed)


def test_a_graph_needs_its_device() -> None:
    net = Supernet(sgl_fast.space("pc_darts", **SIZES))
    with pytest.raises(ValueError, match="need a CUDA device for a graph; got cpu"):
        Search(net, graph=True)
    assert not Search(net).graphed


@pytest.mark.usefixtures("extension")
def test_the_command_writes_the_same_run_by_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records come late there; the log and the checkpoint have all of them."""
    arguments = ["--data", "embedded", "--channels", "4", "--layers", "1", "--nodes", "1", "--batch-size", "4"]
    arguments += ["--limit", "16", "--epochs", "2", "--order", "2", "--arch-start", "0", "--quiet", "--out"]
    assert main([*arguments, str(tmp_path / "launched")]) == 0
    monkeypatch.setattr(Search, "recorder", Tape)
    monkeypatch.setattr(Search, "graphed", True)
    assert main([*arguments, str(tmp_path / "graphed")]) == 0
    for name in ("metrics.jsonl", "best.json"):
        assert repeatable(tmp_path / "graphed" / name) == repeatable(tmp_path / "launched" / name)
    a, b = (torch.load(tmp_path / run / "checkpoint.pt", weights_only=True) for run in ("launched", "graphed"))
    assert torch.equal(a["search"]["w"], b["search"]["w"]) and a["search"]["steps"] == b["search"]["steps"] == 8


class Broken(Tape):
    """A graph that cannot be captured."""

    def record(self, run: Callable[[], Any]) -> Any:
        super().record(run)
        raise RuntimeError("operation not permitted when stream is capturing\nmore words")


def test_a_capture_that_fails_is_said_once_and_steps_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    launched, graphed = searches("pc_darts")
    graphed._graphs = GraphedSteps(Broken)  # type: ignore[arg-type]
    for s in (launched, graphed):
        s.step(batch(0))
    launched.step(batch(1))
    with pytest.warns(RuntimeWarning, match=r"as a graph \(operation not permitted when stream is capturing\): every"):
        graphed.step(batch(1))
    for step in range(2, 4):
        for s in (launched, graphed):
            s.step(batch(step))
    assert same(launched, graphed)


def test_a_search_that_nobody_holds_is_freed_at_once() -> None:
    """Its graph with it: the garbage collector would destroy that in the middle of another capture."""
    gc.collect()
    gc.disable()
    try:
        _, graphed = searches("pc_darts")
        for step in range(3):
            graphed.step(batch(step))
        freed = weakref.ref(graphed._graphs._graph._graph)  # type: ignore[union-attr]
        gone = weakref.ref(graphed)
        graphed.synchronize()
        del graphed, _
        assert gone() is None and freed() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("failing", [False, True])
def test_no_garbage_is_collected_in_a_capture(monkeypatch: pytest.MonkeyPatch, failing: bool) -> None:
    """On the device of the state, by a stream of that; an empty graph is an error, the collector is back after it."""
    seen: dict[str, Any] = {}

    @contextmanager
    def capture(graph: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        seen.update(collecting=gc.isenabled(), stream=stream)
        yield
        if failing:
            warnings.warn("The CUDA Graph is empty. This usually means that ...", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: "graph")
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(step_graph, "_stream", lambda device: f"stream of {device}")
    graph = step_graph.CudaGraph(torch.device("cuda:1"))
    if failing:
        with pytest.raises(RuntimeError, match="CUDA Graph is empty"):
            graph.record(lambda: "report")  # type: ignore[arg-type, return-value]
    else:
        assert graph.record(lambda: "report") == "report"  # type: ignore[arg-type, return-value, comparison-overlap]
    assert seen == {"collecting": False, "stream": "stream of cuda:1"} and gc.isenabled()


def test_a_search_works_on_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[Any] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: entered.append(device) or nullcontext())
    with step_graph.on(torch.device("cuda:1")), step_graph.on(torch.device("cpu")):
        assert entered == [torch.device("cuda:1")]


def test_inputs_start_where_their_copies_do() -> None:
    """Triton compiles another kernel for memory at an odd place, which a capture cannot load."""
    inputs = searches("pc_darts")[0].next_inputs()
    assert {t.storage_offset() for t in (inputs.lr_w, inputs.lr_v)} == {0}
