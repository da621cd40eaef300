"""Settings and fixtures of all tests. Processes of tests, and those that they start, have one thread."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from simulated import StandIn, stand_in

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# A shell's background, or nohup, ignores these, and processes of the tests would, too.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before triton is imported


# Tests whose kernels are small enough for Triton's interpreter, at a tenth of a millisecond an operation.
INTERPRETED = (
    "test_augment",
    "test_flat_update",
    "test_kinks",
    "test_mixed_cell",
    "test_pseudo_label",
    "test_skip_dropout",
)


@pytest.fixture(autouse=True, scope="session")
def patient() -> None:
    """A test's own SIGTERM ends no process that has to wait for its share of a slow machine."""
    from sgl_fast.run import signals

    signals.PATIENCE = 600


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No data set of this machine takes part."""
    from sgl_fast.data import locate

    monkeypatch.setattr(locate, "DEBIAN_FASHION_MNIST", tmp_path / "not-installed")
    monkeypatch.delenv("SGL_FAST_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def extension() -> None:
    """Skips where the extension is not built."""
    from sgl_fast.backends.choice import why_not

    if reason := why_not("cpu"):
        pytest.skip(reason)


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "the CUDA kernels, simulated, in place of every backend; only the tests that run kernels"
    parser.addoption("--simulated", action="store_true", help=text)
    parser.addoption("--nightly", action="store_true", help="only the tests that take long, marked so")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    own = any(mark.args[0] == "backend" for mark in metafunc.definition.iter_markers("parametrize"))
    if "backend" in metafunc.fixturenames and not own:
        ways = ["simulated"] if metafunc.config.getoption("--simulated") else ["reference", "plain", "avx2", "avx512"]
        if metafunc.module.__name__ in INTERPRETED:
            ways = [*ways, "triton"]
        metafunc.parametrize("backend", ways, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --simulated the tests on simulated kernels, with --nightly those that take long, with neither the others."""
    asked = config.getoption("--simulated"), config.getoption("--nightly")
    items[:] = [item for item in items if (on_simulated(item), is_nightly(item)) == asked]


def is_nightly(item: pytest.Item) -> bool:
    return item.get_closest_marker("nightly") is not None


def on_simulated(item: pytest.Item) -> bool:
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return params.get("backend") == "simulated" or "simulated" in getattr(item, "fixturenames", [])


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """CUDA kernels on simulated threads take the place of the CPU kernels, but for convolutions of stems."""
    from sgl_fast.backends import choice as backend
    from sgl_fast.backends import precision

    driver, own = stand_in(), backend.compiled()
    monkeypatch.setattr(backend, "_found", SimpleNamespace(**vars(own) | vars(own.cuda)))
    monkeypatch.setitem(precision.PRECISIONS, "float16", ("cpu", "cuda", "triton"))
    return driver


@pytest.fixture
def interpreted() -> None:
    """Skips where Triton's kernels do not run on CPU tensors."""
    from sgl_fast.backends import triton

    if reason := triton.why_not_triton():
        pytest.skip(reason)
    if not triton.interpreted():
        pytest.skip("Triton's kernels run on the GPU here: tests/bench/test_gpu.py")


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each backend of this machine; "cpu" once for each instruction set, or (--simulated) once by CUDA kernels."""
    if request.param == "reference":
        return "reference"
    from sgl_fast.backends.choice import compiled

    if request.param == "triton":
        request.getfixturevalue("interpreted")
        return "triton"
    if request.param == "simulated":
        request.getfixturevalue("simulated")
        return "cpu"
    request.getfixturevalue("extension")
    monkeypatch.setenv("SGL_FAST_ISA", request.param)
    try:
        compiled().isa()
    except RuntimeError as error:
        pytest.skip(str(error))
    return "cpu"


@pytest.fixture(autouse=True)
def no_backend_is_left_chosen() -> Iterator[None]:
    """A command line chooses one for its process, which is that of the next test, too."""
    yield
    from sgl_fast.backends import choice as backend

    backend._chosen = None
