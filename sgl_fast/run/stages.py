"""The stages of a run: one for most spaces, three for P-DARTS, each a new search on the operations that survived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ..data import Dataset, Feed
from ..data.seeds import seed_of
from ..genotype.genotype import Genotype, drop_ops
from ..nets.supernet import Supernet
from ..sgl.config import Config
from ..sgl.memory import check_room, chunk_for, free_budget
from ..sgl.schedule import epoch_of
from ..sgl.search import Search
from ..sgl.state_check import check_count, check_keys, check_like
from ..spaces import KINDS, PRIMITIVES, RULES, Rules, Space, num_edges, space
from .search_settings import ops_of

EdgeOps = list[dict[str, list[list[str]]]]


class Stages:
    """The search of the current stage, and where the whole run is.

    settings   of `search_settings.settings_of`
    edge_ops   operations that each learner kept, empty in the first stage
    history    what the relaxation remembers of each epoch in which the architecture moved
    stopped    why it ended the search; empty where it did not
    graph      of `Search`
    part       of every batch, as of `Feed`
    """

    def __init__(
        self,
        settings: dict[str, Any],
        dataset: Dataset,
        device: str,
        graph: bool | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.settings, self.dataset, self.device, self.graph = settings, dataset, device, graph
        self.config = Config(**settings["config"])
        batch, limit = settings["batch_size"], settings["limit"]
        learners = self.config.learners if settings["batches"] == "own" else None
        self.feed = Feed(dataset, batch, self.config.seed, device, learners=learners, limit=limit, part=part)
        self.images = batch // part[1]  # of a role, in this process
        self.config = replace(self.config, steps_per_epoch=self.feed.steps_per_epoch)
        self.stage = 0
        self.edge_ops: EdgeOps = []
        self.history: list[dict[str, Any]] = []
        self.stopped = ""
        self.search = self._search()

    @property
    def rules(self) -> Rules:
        return RULES[self.settings["space"]]

    @property
    def count(self) -> int:
        return len(self.settings["layers"])

    @property
    def stage_steps(self) -> int:
        return self.config.total_epochs * self.feed.steps_per_epoch

    @property
    def stage_ended(self) -> bool:
        """The current stage is over and another one follows."""
        return self.search.steps == self.stage_steps and self.stage + 1 < self.count

    @property
    def step(self) -> int:
        """Steps done in the whole run."""
        return self.stage * self.stage_steps + self.search.steps

    @property
    def steps(self) -> int:
        return self.count * self.stage_steps

    @property
    def ended(self) -> bool:
        """Whether all steps are done, or the relaxation stopped the search."""
        return bool(self.stopped) or self.step >= self.steps

    @property
    def epoch(self) -> int:
        return self.step // self.feed.steps_per_epoch

    @property
    def ran(self) -> dict[str, Any]:
        """The settings, with what the data made of them."""
        return {**self.settings, "config": self.config.as_dict()}

    @property
    def moved(self) -> bool:
        """Whether the architecture of this stage has moved."""
        return bool(self.search.architect.steps > 0)

    def remember(self, record: Mapping[str, Any]) -> bool:
        """Takes from an epoch's record, JSON, what the relaxation asks for; whether that ends the search here.

        The last epoch ends it anyhow, and is never stopped.
        """
        relaxation = self.search.relaxation
        if relaxation.remembers and self.moved:
            self.history.append({name: record[name] for name in relaxation.remembers})
            if self.step < self.steps:
                self.stopped = relaxation.stop(self.history, self.search.space) or ""
        return bool(self.stopped)

    def genotypes(self) -> list[Genotype]:
        """Every learner's, as its architecture stands; where the search was stopped, as the relaxation says."""
        if self.stopped and (back := self.search.relaxation.back):
            return [Genotype(**g) for g in self.history[max(0, len(self.history) - 1 - back)]["genotypes"]]
        skips = self.settings["max_skips"]
        nets = self.search.nets
        derive = self.search.relaxation.derive
        return [derive(net.space, self.search.arch, k, skips) for k, net in enumerate(nets)]

    def next_stage(self) -> None:
        """Each learner drops its own operations; a new search begins."""
        drop = self.rules.drops[self.stage]
        self.edge_ops = [drop_ops(n.space, self.search.arch, k, drop) for k, n in enumerate(self.search.nets)]
        self.stage += 1
        del self.search  # its memory, before the next one needs as much
        self.search = self._search()

    def state_dict(self) -> dict[str, Any]:
        state = {"stage": self.stage, "edge_ops": self.edge_ops, "search": self.search.state_dict()}
        return state | ({"history": self.history, "stopped": self.stopped} if self.search.relaxation.remembers else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """ValueError that names the field, and nothing changed, where it is not a state of this run."""
        remembered = ("history", "stopped") if self.search.relaxation.remembers else ()
        check_keys(state, ("stage", "edge_ops", "search", *remembered), "the state")
        before = self.stage, self.edge_ops, self.search, self.history, self.stopped
        try:
            self.stage, self.edge_ops = state["stage"], state["edge_ops"]
            check_count(self.stage, self.count - 1, "stage")
            self._check_edge_ops()
            self.history, self.stopped = state.get("history", []), state.get("stopped", "")
            self._check_history()
            self.search = self._search()
            self.search.load_state_dict(state["search"])
            check_count(self.search.steps, self.stage_steps, "search.steps")
        except BaseException:
            self.stage, self.edge_ops, self.search, self.history, self.stopped = before
            raise

    def check_longer(self, epochs: int) -> None:
        """ValueError unless the steps so far were those of the same run of so many epochs, fewer than there are now."""
        now, asked = self.search.config, f"--epochs {self.config.epochs}: the run to resume has {epochs}"
        if self.stage and epochs != now.epochs:
            raise ValueError(f"{asked}, as had the stages that are over")
        for number in range(-(-self.search.steps // self.feed.steps_per_epoch)):
            then, here = (asdict(epoch_of(c, self.search.space, number)) for c in (replace(now, epochs=epochs), now))
            if others := [name for name in here if then[name] != here[name]]:
                which = f"{', '.join(others)} of epoch {number + 1} would have been others"
                raise ValueError(f"{asked}; {which}: it may grow where none depends on it, as with --lr-min like --lr")

    def _check_edge_ops(self) -> None:
        """The space checks which operations an edge may have, not how many each stage leaves."""
        ops = len(self._ops() or PRIMITIVES) - sum(self.rules.drops[: self.stage])
        E, K = num_edges(self.settings["nodes"]), self.config.learners if self.stage else 0
        check_like(self.edge_ops, [dict.fromkeys(KINDS, [[""] * ops] * E)] * K, "edge_ops")

    def _check_history(self) -> None:
        names = self.search.relaxation.remembers
        if not isinstance(self.history, list) or not isinstance(self.stopped, str):
            raise ValueError("history: need a list of records, and stopped a text")
        for i, record in enumerate(self.history):
            check_keys(record, names, f"history[{i}]")

    def _search(self) -> Search:
        config, height, width = self.config, *self.dataset.image_size
        nets = self._nets()
        nets[0].space.check_images(height, width)
        check_room(config.learners * max(net.num_weights for net in nets), self.device)
        budget = self._budget(config)
        if budget is not None:
            size = self.images, height, width, self.device
            chunk = min(chunk_for(budget, net, *size) for net in set(nets))
            if self.settings["memory"] is None:  # the teachers' activations stay beside those of a chunk
                chunk = max(1, chunk - config.learners)
            config = replace(config, chunk=chunk)
        if self.rules.skip_dropout:
            config = replace(config, skip_dropout=self.settings["skip_dropout"][self.stage])
        if self.stage:
            config = replace(config, seed=seed_of(config.seed, self.stage))
        return Search(nets, config, self.device, self.graph)

    def _budget(self, config: Config) -> float | None:
        """Bytes for activations: what --memory says, else, unless --chunk does, most of what the device has free."""
        if self.settings["memory"] is not None:
            return 1e9 * float(self.settings["memory"])
        return None if config.chunk else free_budget(self.device)

    def _ops(self) -> tuple[str, ...] | None:
        """Of every edge, where they were chosen."""
        return ops_of(self.settings.get("ops"))

    def _nets(self) -> list[Supernet]:
        """One a learner; learners of equal spaces share theirs."""
        sizes = {name: self.settings[name] for name in ("channels", "nodes")}
        sizes |= {"layers": self.settings["layers"][self.stage], "num_classes": self.dataset.num_classes}
        name, K = self.settings["space"], self.config.learners
        if self.stage:
            spaces = [space(name, stage=self.stage + 1, edge_ops=ops, **sizes) for ops in self.edge_ops]
        else:
            spaces = [space(name, ops=self._ops(), **sizes)] * K
        nets: dict[Space, Supernet] = {s: Supernet(s) for s in dict.fromkeys(spaces)}
        return [nets[s] for s in spaces]
