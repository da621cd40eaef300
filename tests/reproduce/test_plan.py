"""What is run for the paper's rows, and in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sgl_fast.genotype.published import genotypes
from sgl_fast.reproduce import paper
from sgl_fast.reproduce.jobs import DONE, Job, Setup, core_seconds, jobs
from sgl_fast.reproduce.launch import Stop, run_all
from sgl_fast.reproduce.plan import chosen, plans
from sgl_fast.run import evaluate_args, search_args
from sgl_fast.run.search_settings import settings_of


def setup(out: Path = Path("/out"), scale: str = "paper", **more: Any) -> Setup:
    return Setup(out, scale, "paper", (1, 2), 2, **more)


def search_settings(job: Job) -> dict[str, Any]:
    return settings_of(search_args.given_of(search_args.parser().parse_args(job.words)), "cpu")


@pytest.mark.parametrize("scale", ["tiny", "paper"])
@pytest.mark.parametrize("name", paper.names())
def test_every_job_has_settings_that_its_command_takes(name: str, scale: str) -> None:
    for job in jobs(plans(paper.item(name)), setup(scale=scale)):
        if job.command == "search":
            assert search_settings(job)["scale"] == scale
        else:
            given = evaluate_args.OPTIONS.given(evaluate_args.parser().parse_args(job.words), evaluate_args.flat)
            assert evaluate_args.recipe_of(given, "tiny").seed // 100 in (1, 2)
            source = given["genotype"]
            assert job.needs == Path(source) if job.needs else source.partition(":")[0] in {*genotypes, "random"}


@pytest.mark.parametrize("name", paper.names())
def test_an_identity_says_what_the_command_line_says(name: str) -> None:
    """But for places: read by the command's own parser, only they differ."""
    every = jobs(plans(paper.item(name)), setup(more=("--root", "/data", "--device", "cuda:1")))
    for job in every:
        assert job.identity[0] == job.command
        parser = {"search": search_args, "evaluate": evaluate_args}[job.command].parser()
        line, kept = (vars(parser.parse_args(words)) for words in (job.words, job.identity[1:]))
        moved = {"root", "device"} | ({"genotype"} if job.needs else set())
        assert {option for option in line if line[option] != kept.get(option)} == moved
    first = [tuple(job.identity) for job in every if job.needs is None]
    assert len(set(first)) == len(first)


def test_searches_are_those_of_section_4() -> None:
    item = paper.item("table2")
    found = {plan.label: plan for plan in plans(item)}
    rows = chosen(plans(item), r"P-DARTS \+ SGL \(ours\)")
    settings = search_settings(jobs(rows, setup())[0])
    config = settings["config"]
    assert (settings["space"], settings["data"], config["learners"], config["lam"]) == ("p_darts", "cifar100", 2, 1)
    assert (config["order"], config["epochs"], settings["batch_size"]) == (2, 50, 50)
    single = search_settings(jobs([found["†DARTS(1st) (Liu et al., 2019)"]], setup())[0])["config"]
    assert (single["learners"], single["order"]) == (1, 1)
    assert {"DARTS-2nd, single learner", "random architectures"} <= set(found)
    random = jobs([found["random architectures of 3.3 to 3.7 M parameters"]], setup())
    assert all("--budget" in job.words for job in random) and len({job.folder for job in random}) == 4
    assert "DARTS-1st, single learner" not in found, "the authors ran it again, in a row of its own"
    assert not found["*ResNet (He et al., 2016a)"].runs


def test_ablations_and_figures() -> None:
    ablated = chosen(plans(paper.item("table6")), r"Separate \(CIFAR-10\)")
    config = search_settings(jobs(ablated, setup())[0])["config"]
    assert (config["schedule"], config["lam"], config["order"]) == ("separate", 2, 1)
    points = jobs(chosen(plans(paper.item("figure4")), "K = 3, cifar10$"), setup())
    assert search_settings(points[0])["config"]["learners"] == 3
    assert all(job.words[job.words.index("--held-out") + 1] == "5000" for job in points)
    lams = [
        search_settings(job)["config"]["lam"] for job in jobs(plans(paper.item("figure3")), setup()) if not job.needs
    ]
    assert sorted(set(lams)) == [0, 0.1, 0.5, 1, 2, 3]


def test_on_imagenet_networks_are_trained_by_its_recipe() -> None:
    rows = chosen(plans(paper.item("table4")), "SGL-PC-DARTS-ImageNet")
    search, training = jobs(rows, setup())[0], jobs(rows, setup())[1]
    assert search_settings(search)["space"] == "pc_darts_imagenet" and search.words[-1] != "--imagenet"
    given = evaluate_args.OPTIONS.given(evaluate_args.parser().parse_args(training.words), evaluate_args.flat)
    recipe = evaluate_args.recipe_of(given, "tiny")
    assert (recipe.imagenet, recipe.channels, recipe.batch_size, recipe.epochs) == (True, 48, 1024, 250)


def test_items_share_searches() -> None:
    full = [chosen(plans(paper.item(name)), r"(Joint|With human labels) \(CIFAR-10\)") for name in ("table6", "table7")]
    full.append(chosen(plans(paper.item("table3")), r"^DARTS\(1st\) \+ SGL"))
    folders = [{job.folder for job in jobs(rows, setup())} for rows in full]
    assert folders[0] == folders[1] == folders[2]
    on_imagenet = jobs(chosen(plans(paper.item("table4")), "SGL-DARTS-1st-CIFAR10"), setup())
    assert on_imagenet[0].folder in folders[0] and on_imagenet[1].folder not in folders[0]
    lam_1, full = (
        jobs(chosen(plans(paper.item(n)), r), setup())[0]
        for n, r in (("figure3", "lam = 1, cifar10$"), ("table3", r"^P-DARTS \+ SGL"))
    )
    assert lam_1.folder != full.folder, "one holds images out"


class Immediately:
    """Runs at once, in this process."""

    def __init__(self, codes: dict[str, Any]) -> None:
        self.codes, self.order = codes, list[str]()

    def submit(self, fn: Any, job: Job) -> Any:
        name = job.folder.name
        self.order.append(name)
        code = self.codes.get(name, 0)

        class Done:
            def done(self) -> bool:
                return True

            def result(self) -> Any:
                if isinstance(code, Exception):
                    raise code
                return code, 1.0

        return Done()


def chain(tmp_path: Path) -> list[Job]:
    search, other = tmp_path / "search", tmp_path / "other"
    return [
        Job(tmp_path / "training", "evaluate", (), search),
        Job(search, "search", ()),
        Job(other, "search", ()),
        Job(tmp_path / "after", "evaluate", (), other),
    ]


def test_a_job_waits_for_the_one_it_needs(tmp_path: Path) -> None:
    said: list[str] = []
    launcher = Immediately({})
    assert not run_all(chain(tmp_path), launcher, lambda: False, lambda job, text: said.append(text), 0)
    assert launcher.order.index("search") < launcher.order.index("training")
    assert launcher.order.index("other") < launcher.order.index("after") and said == ["done in 1 s"] * 4


def test_with_room_for_one_they_come_in_their_order(tmp_path: Path) -> None:
    """What needs a job comes right after it, before others that need nothing."""
    launcher = Immediately({})
    assert not run_all(chain(tmp_path), launcher, lambda: False, lambda job, text: None, 0, room=1)
    assert launcher.order == ["search", "training", "other", "after"]


@pytest.mark.parametrize(
    ("end", "words"), [(2, "failed with exit code 2: it left no log"), (OSError("x"), "OSError: x")]
)
def test_what_needs_a_job_that_failed_is_left_out(end: Any, words: str, tmp_path: Path) -> None:
    said = dict[str, str]()
    failed = run_all(
        chain(tmp_path), Immediately({"search": end}), lambda: False, lambda j, t: said.update({j.folder.name: t}), 0
    )
    assert {job.folder.name for job in failed} == {"search", "training"}
    assert words in said["search"] and "left out" in said["training"] and said["after"] == "done in 1 s"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_signal_ends_it(stopped: bool, tmp_path: Path) -> None:
    """That came here, or that a job tells of."""
    with pytest.raises(Stop):
        run_all(chain(tmp_path), Immediately({"search": 143}), lambda: stopped, lambda job, text: None, 0)


def test_a_job_knows_what_it_was_done_by(tmp_path: Path) -> None:
    """Device, root and the place of both folders are not of it."""
    search, training = (Job(tmp_path / name, name, ("--epochs", "1"), None) for name in ("search", "evaluate"))
    for made in (search, training):
        made.check()
        made.folder.mkdir()
        (made.folder / DONE).write_text(json.dumps({"core_seconds": 1.5, "words": made.identity}))
        made.check()
    assert core_seconds([search, training, Job(tmp_path / "other", "search", ())]) == 3.0
    elsewhere = replace(search, words=("--root", "/data", *search.words, "--device", "cuda"))
    elsewhere.check()
    for job, words in (
        (replace(search, words=("--epochs", "2")), "'--epochs 1' in place of '--epochs 2': need another folder"),
        (replace(search, words=("--epochs", "1", "--cutout", "2")), "'1' in place of '1 --cutout'"),
        (replace(search, words=()), "'search --epochs' in place of 'search': need"),
        (replace(training, command="search"), "'evaluate' in place of 'search'"),
    ):
        with pytest.raises(ValueError, match=words):
            job.check()
    here, there = (
        Job(above / "training", "evaluate", ("--genotype", str(above / "search")), above / "search").identity
        for above in (tmp_path, Path("/moved"))
    )
    assert here == there and str(tmp_path) not in str(here)
    (search.folder / DONE).write_text("{}")
    with pytest.raises(ValueError, match="search/done: need the record of a job; without the file the job runs again"):
        search.check()


def test_rows_are_chosen_by_their_labels() -> None:
    every = plans(paper.item("table5"))
    assert len(chosen(every, "cifar-100")) == 2 and chosen(every, None) == every
    with pytest.raises(ValueError, match="--rows: no row matches 'x9'; there are With first stage"):
        chosen(every, "x9")
    with pytest.raises(ValueError, match=r"--rows: '\(' is no regular expression"):
        chosen(every, "(")
