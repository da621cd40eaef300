"""What an epoch has: phases, dropout and beta of each, in the numbers of the released code and of searches apart."""

from __future__ import annotations

import known
import pytest

from sgl_fast.sgl.config import Config
from sgl_fast.sgl.schedule import Epoch, epoch_of
from sgl_fast.spaces import space


def epochs(name: str, config: Config) -> list[Epoch]:
    return [epoch_of(config, space(name), number) for number in range(config.total_epochs)]


def test_released_dropout_of_w_runs_on_the_joint_epochs() -> None:
    got = epochs("p_darts", Config.preset("p_darts", "released", skip_dropout=0.4))
    assert [got[e].dropout_w for e in (5, 9, 14)] == pytest.approx([0.38, 0.30, 0.20])
    assert [got[e].dropout_v for e in (5, 9, 14)] == pytest.approx([0.304, 0.24, 0.16])
    assert all(e.dropout_w == e.dropout_v for e in got if e.moving)
    assert [e.phase for e in got] == ["pretrain"] * 5 + ["released"] * 20
    assert [e.moving for e in got] == [False] * 15 + [True] * 10


def test_released_rates_of_w_run_on_the_joint_epochs() -> None:
    got = epochs("p_darts", Config.preset("p_darts", "released"))
    V = Config(epochs=25)
    assert [e.lr_v for e in got] == [V.lr_at(e) for e in range(25)]
    assert [e.lr_w for e in got[5:]] == [Config(epochs=20).lr_at(e) for e in range(20)]


@pytest.mark.parametrize("algorithm", ["best", "released"])
@pytest.mark.parametrize("name", ["darts_minus", "p_darts"])
def test_each_search_of_separate_is_a_whole_one(name: str, algorithm: str) -> None:
    """Teachers and students, eqs (13) and (14): the epochs of the published search, from its first to its last."""
    settings = {"skip_dropout": 0.4, "schedule": "separate", "pretrain_epochs": 0}
    got = epochs(name, Config.preset(name, algorithm, "published", **settings))
    half = len(got) // 2
    assert [e.phase for e in got] == ["teachers"] * half + ["students"] * half
    for search in (got[:half], got[half:]):
        if name == "darts_minus":
            known.close([e.skip_beta for e in search], known.load("schedules")["darts_minus_beta"]["linear"], 1e-12)
        else:
            want = known.load("schedules")["p_darts_skip_dropout"]["stage2_rate0.4"]
            known.close([e.dropout_w for e in search], want, 1e-12)
            known.close([e.dropout_v for e in search], want, 1e-12)
            assert [e.moving for e in search] == [False] * 10 + [True] * 15
        assert [e.lr_w for e in search] == [e.lr_v for e in got[:half]]
