"""The settings of a search: what nobody says, what follows, what does not fit. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from ..data.locate import PYTHON, choose
from ..relaxations import SETTINGS as OF_RELAXATIONS
from ..relaxations import STOPPING
from ..setting import SettingError, check_among, check_limits, check_range
from ..sgl.config import Config
from ..sgl.presets import ABLATION_LAM, ABLATIONS, ALGORITHMS, SETTINGS, default_settings, numbers
from ..spaces import EVERY, RULES, Rules, op_names, space
from .command import FOLDER, absolute, located
from .identity import RUN

# Steps and pixels of tiny are those at which searches drop what they should: docs/design.md, "How long a search needs".
SCALES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "batch_size": 16, "arch_start": 0, "image_size": 16},
    "paper": {"channels": 16, "nodes": 4, "limit": None},
}
TINY_WHOLE = {"layers": 3, "nodes": 2, "limit": 2000, "epochs": 4}  # of tiny, where mixed ops take all channels
TINY_PARTIAL = {"layers": 6, "nodes": 4, "limit": 640, "epochs": 16}  # for the others, whose gradients are noisier
TINY_STAGED, TINY_DARTS_MINUS = {"limit": 800, "epochs": 8}, {"epochs": 8}
TINY_ARCH = {"arch_lr": 3e-3}
TINY_LR = {"partial": 0.1, "staged": 0.05}  # which learn too little at the paper's 0.025
HYPERGRADIENT = {"algorithm", "method", "r", "explicit_pseudo_label_grad", "frozen_precision"}  # say which it is
CHOICES: dict[str, Collection[str]] = {
    "space": EVERY,
    "algorithm": ALGORITHMS,
    "settings": SETTINGS,
    "ablation": ABLATIONS,
    "scale": SCALES,
    "batches": ("shared", "own"),
}
LEAST = {"channels": 1, "nodes": 1, "batch_size": 2, "limit": 1, "image_size": 1, "memory": 1e-6, "max_skips": 0}
LEAST |= {"held_out": 0}
DERIVED = [f.name for f in fields(Config) if f.metadata["derived"]]


def defaults(name: str, algorithm: str, source: str, scale: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a space that has one where nobody says it; given: what is said, which some follow from."""
    rules = RULES[name]
    found: dict[str, Any] = {"layers": list(rules.layers), "max_skips": rules.max_skips, "data": "auto"}
    found["batches"] = "shared"
    found |= {**Config.preset(name, algorithm, source).as_dict(), "batch_size": numbers(name, source)["batch_size"]}
    found |= {"skip_dropout": list(rules.skip_dropout) or [found["skip_dropout"]], **SCALES[scale]}
    found |= OF_RELAXATIONS.get(given.get("relaxation", ""), {})
    return found | tiny(name, source, given) if scale == "tiny" else found


def tiny(name: str, source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What of --scale tiny depends on the space, and on what is said beside it."""
    made, staged = space(name), bool(RULES[name].drops)
    whole, minus = made.partial == 1, made.aux_skip
    found: dict[str, Any] = dict(TINY_WHOLE if whole else TINY_PARTIAL)
    found |= TINY_STAGED if staged else TINY_DARTS_MINUS if minus else {}
    if source == "paper" and "settings" not in given:
        found |= TINY_ARCH | tiny_rates(name, given)
    noisy = any("noise" in names for names in made.ops("normal"))  # which no backend fuses
    if (staged or minus or noisy or not whole) and not HYPERGRADIENT & set(given):
        found["order"] = 1  # second order takes more than three minutes there
    data = given.get("data", "auto")
    if made.imagenet or data == "imagenet" or data.startswith((FOLDER, PYTHON)):
        found["image_size"] = None
    if source == "released":
        first = given.get("pretrain_epochs", 1)
        found |= {"epochs": found["epochs"] + first, "pretrain_epochs": 1, "arch_start": first}
    return found


def tiny_rates(name: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Learning rates of the weights where they are not section 4.2's."""
    if space(name).partial > 1:
        return {"lr": TINY_LR["partial"]}
    lr = {"lr": TINY_LR["staged"]} if RULES[name].drops else {}
    # A rate that falls brings back operations that were dropped.
    return {**lr, "lr_min": given.get("lr", lr.get("lr", numbers(name, "paper")["lr"]))}


def settings_of(given: dict[str, Any], device: str) -> dict[str, Any]:
    """What config.json holds, checked: the space, its sizes, the data and every field of `Config`."""
    for choice, allowed in CHOICES.items():
        if given.get(choice) is not None:
            check_among(choice, given[choice], tuple(allowed))
    name, algorithm, ablation = given.get("space", "pc_darts"), given.get("algorithm", "best"), given.get("ablation")
    scale = given.get("scale", "tiny" if device == "cpu" else "paper")
    source = given.get("settings", default_settings(algorithm))
    chosen = {**defaults(name, algorithm, source, scale, given), **_ablation(ablation, given), **given}
    layers, rates = by_stage(chosen, RULES[name]).values()
    check_sizes({**chosen, "layers": max(layers)})
    data = data_of(chosen, algorithm)
    check_space(name, layers, chosen)
    staged = bool(RULES[name].skip_dropout)
    own = {f.name: chosen[f.name] for f in fields(Config) if f.name in chosen}
    config = Config(**{**own, "skip_dropout": 0.0 if staged else rates[0]})
    if config.relaxation in STOPPING and len(layers) > 1:
        raise SettingError(
            "relaxation", f"one that stops no search for the {len(layers)} stages of {name}", config.relaxation
        )
    sizes = {"channels": chosen["channels"], "layers": layers, "nodes": chosen["nodes"]}
    sizes |= {name: chosen[name] for name in ("batch_size", "batches", "limit")}
    rest = {"ops": chosen.get("ops"), "memory": chosen.get("memory"), "max_skips": chosen["max_skips"]}
    rest["skip_dropout"] = rates if staged else []
    said = {"space": name, "algorithm": algorithm, "settings": source, "ablation": ablation, "scale": scale}
    return {**said, **sizes, **data, **rest, "config": config.as_dict()}


def by_stage(chosen: Mapping[str, Any], rules: Rules) -> dict[str, list[Any]]:
    """Cells of each stage, and rates of the skips' dropout: as they are listed, or made of the first one."""
    found: dict[str, list[Any]] = {}
    for name, follow in (("layers", rules.layers_from), ("skip_dropout", lambda rate: [rate] * len(rules.layers))):
        value = chosen[name]
        listed = value if isinstance(value, list) else [value]
        listed = follow(listed[0]) if len(listed) == 1 else listed
        if len(listed) != len(rules.layers):
            stages = len(rules.layers)
            need = "one number" if stages == 1 else f"one number, or {stages} with commas between them"
            raise SettingError(name, need, ",".join(map(str, listed)))
        found[name] = listed
    return found


def check_sizes(chosen: Mapping[str, Any]) -> None:
    check_limits(chosen)
    for name, least in LEAST.items():
        if chosen.get(name) is not None:
            check_range(name, chosen[name], least, None, None)
    for rate in chosen["skip_dropout"]:
        check_range("skip_dropout", rate, 0, None, 1)


def check_space(name: str, layers: list[int], chosen: Mapping[str, Any]) -> None:
    """ValueError unless the space has these sizes and operations, in every stage, and takes images of --image-size."""
    ops, drops = ops_of(chosen.get("ops")), sum(RULES[name].drops)
    for each in layers:
        made = space(name, channels=chosen["channels"], layers=each, nodes=chosen["nodes"], ops=ops)
        if (side := chosen.get("image_size")) is not None:
            try:
                made.check_images(side, side)
            except ValueError as error:
                raise ValueError(f"--image-size: {error}") from None
    if ops and len(ops) <= drops:
        raise ValueError(f"--ops: need more than the {drops} that the stages of {name} drop; got {len(ops)}")


def data_of(chosen: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    """Which images, their places absolute."""
    data, root = located(chosen["data"], chosen.get("root"))
    unlabeled = chosen.get("unlabeled")
    if algorithm == "released" and unlabeled is None:
        unlabeled = "train"
    elif unlabeled not in (None, "train"):
        unlabeled = absolute(unlabeled)
    rest = {"image_size": chosen.get("image_size"), "held_out": chosen.get("held_out", 0)}
    return {"data": data, "root": root, "unlabeled": unlabeled, **rest}


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The options that give these settings, of a config.json. ValueError where they are no settings of a search."""
    config = settings.get("config")
    if not isinstance(settings.get("layers"), list) or not isinstance(config, dict):
        raise ValueError("config.json holds no search")
    whole = {**config, **settings}
    if not settings.get("skip_dropout"):
        whole["skip_dropout"] = config.get("skip_dropout", 0.0)
    return {name: value for name, value in whole.items() if name not in ("config", RUN, *DERIVED)}


def warning_of(settings: dict[str, Any]) -> str | None:
    """What to know of the learning rates: those of large batches are none for small ones. None: nothing."""
    source, config = settings["settings"], settings["config"]
    own = numbers(settings["space"], source)
    rates = " and ".join(f"{rate} {own[rate]}" for rate in ("lr", "arch_lr") if config[rate] == own[rate])
    if source == "paper" or settings["batch_size"] == own["batch_size"] or not rates:
        return None
    size = settings["batch_size"]
    return f"{rates} of --settings {source} belong to batches of {own['batch_size']}; this run has batches of {size}"


def ops_of(text: str | None) -> tuple[str, ...] | None:
    """Names in a list that commas separate, ValueError for an unknown one; None: the space's own."""
    return None if text is None else op_names([name.strip() for name in text.split(",")], "--ops")


def _ablation(name: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What an ablation changes; lam is section 4.4's for the data set."""
    if name is None:
        return {}
    lam = ABLATION_LAM.get((name, choose(given.get("data", "auto"), given.get("root"))))
    return {**ABLATIONS[name], **({} if lam is None else {"lam": lam})}
