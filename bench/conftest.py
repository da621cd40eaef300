"""Options and fixtures of the benchmarks."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sgl_fast import use_backend

from .interleave import Interleave
from .settings import Settings, machine, short_asked


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sgl_fast")
    group.addoption("--short", action="store_true", help="tiny shapes, no ratio fails (or SGL_FAST_BENCH=short)")
    group.addoption("--threads", type=int, default=0, help="torch's threads; its default unless given")
    group.addoption("--backend", default=None, help="backend of sgl_fast; the best that can run unless given")
    group.addoption("--compile-baseline", action="store_true", help="torch.compile as one more baseline")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--threads"):
        torch.set_num_threads(config.getoption("--threads"))
    use_backend(config.getoption("--backend"))


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["sgl_fast"] = {**machine(), "short": settings_of(config).short}


def settings_of(config: pytest.Config) -> Settings:
    return Settings(config.getoption("--short") or short_asked(), config.getoption("--compile-baseline"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "baseline" in metafunc.fixturenames:
        metafunc.parametrize("baseline", settings_of(metafunc.config).baselines)


@pytest.fixture(scope="session")
def settings(pytestconfig: pytest.Config) -> Settings:
    return settings_of(pytestconfig)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    out: str = request.param
    return out


@pytest.fixture
def interleave(benchmark: Any, settings: Settings, device: str) -> Interleave:
    return Interleave(benchmark, settings, device)
