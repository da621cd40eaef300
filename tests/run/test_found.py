"""Of the nightly kind: searches at the tiny scale drop the operations that are worst alone. Run by `make signal`."""

from __future__ import annotations

import pytest
import torch

from sgl_fast.run.search_settings import settings_of
from sgl_fast.run.stages import Stages
from sgl_fast.search import open_data
from sgl_fast.sgl.search import Search
from sgl_fast.spaces import KINDS

SEEDS = range(5)
WORST = {"avg_pool_3x3", "skip_connect", "noise"}


def led(search: Search) -> tuple[int, int, float]:
    """Edges on which one of WORST leads, but for `none`; edges; on how many of them it would by chance."""
    count, edges, chance = 0, 0, 0.0
    for kind in KINDS:
        for k, net in enumerate(search.nets):
            for alphas, names in zip(getattr(search.arch, f"alphas_{kind}")[k], net.space.ops(kind), strict=True):
                among = [i for i, name in enumerate(names) if name != "none"]
                best = names[max(among, key=alphas.tolist().__getitem__)]
                count, edges = count + (best in WORST), edges + 1
                chance += len(WORST & set(names)) / len(among)
    return count, edges, chance


def test_what_counts_as_led() -> None:
    """Of an architecture that favours one operation everywhere; `none` is not counted."""
    settings = settings_of({"space": "pc_darts", "data": "embedded"}, "cpu")
    search = Stages(settings, open_data(settings), "cpu").search
    names = search.space.ops("normal")[0]
    for favour, want in {"skip_connect": 56, "avg_pool_3x3": 56, "sep_conv_3x3": 0}.items():
        for t in (search.arch.alphas_normal, search.arch.alphas_reduce):
            t.copy_(torch.nn.functional.one_hot(torch.tensor(names.index(favour)), len(names)).expand_as(t))
            t[..., names.index("none")] = 9.0
        assert led(search) == (want, 56, pytest.approx(16))


def searched(name: str, seed: int) -> tuple[Search, Search]:
    """A search at the tiny scale before its first step, and at its end, in the last of its stages."""
    settings = settings_of({"space": name, "data": "embedded", "scale": "tiny", "seed": seed}, "cpu")
    first, stages = (Stages(settings, open_data(settings), "cpu") for _ in range(2))
    while stages.step < stages.steps:
        if stages.stage_ended:
            stages.next_stage()
        stages.search.step(stages.feed.batch(stages.step))
    return first.search, stages.search


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["pc_darts", "darts", "darts_minus", "p_darts", "s1", "s4"])
def test_a_tiny_search_drops_the_worst_operations(name: str) -> None:
    """At its end at most a third as often as by chance, over all seeds; before its first step more often than that.

    By chance: of a search that decides at random, what it drops between stages included.
    """
    before = after = 0
    chance, said = 0.0, []
    for seed in SEEDS:
        first, last = searched(name, seed)
        (at_first, _, by_chance), (count, edges, left) = led(first), led(last)
        before, after, chance = before + at_first, after + count, chance + by_chance
        said.append(f"seed {seed}: {count} of {edges}")
        print(f"{name}, {said[-1]} edges, by chance {by_chance:.1f}, of the operations left {left:.1f}", flush=True)
    assert after <= chance / 3 < before, said
