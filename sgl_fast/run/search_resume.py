"""The settings of a search to resume: read back from its config.json, checked as if they had been typed. No torch."""

from __future__ import annotations

from typing import Any

from ..data.locate import PYTHON
from ..limits import flag
from ..setting import SettingError
from ..spaces import RULES
from .command import FOLDER, absolute, located
from .options import shown
from .search_args import OPTIONS
from .search_settings import by_stage, flat, settings_of

PLACES = ("data", "root", "unlabeled")  # may be elsewhere now, as long as the images are the same


def stored_settings(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings as `settings_of` gives them, and a line for each that an earlier version did not know.

    Those get their defaults. ValueError where a setting is unknown, or not of its kind, or could not have been typed.
    """
    given = OPTIONS.checked(flat(config), "config.json")
    try:
        settings = settings_of(given, "cpu")
    except SettingError as error:
        raise ValueError(f"config.json: {error}") from None
    known = flat(settings)
    missing = sorted(set(known) - set(given))
    return settings, [f"config.json of an earlier version has no {name}: it is {known[name]!r}" for name in missing]


def check_resumed(given: dict[str, Any], settings: dict[str, Any]) -> None:
    """ValueError where an option asks for something else than the run to resume has."""
    stored, rules = flat(settings), RULES[settings["space"]]
    asked, stored = given | by_stage({**stored, **given}, rules), stored | by_stage(stored, rules)
    for name, value in asked.items():
        if name == "epochs" and value > stored[name]:
            continue  # `Stages.check_longer` knows whether it may
        if name in stored and name not in PLACES and stored[name] != value:
            raise ValueError(f"{flag(name)} {shown(value)}: the run to resume has {shown(stored[name])}, and keeps it")


def lengthened(given: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the epochs that are asked for."""
    return {**settings, "config": {**settings["config"], "epochs": given.get("epochs", settings["config"]["epochs"])}}


def placed(given: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the places of the data that options name. ValueError where they name another data set."""
    if not any(name in given for name in PLACES):
        return settings
    data, root = located(given.get("data", settings["data"]), given.get("root", settings["root"]))
    unlabeled = given.get("unlabeled", settings["unlabeled"])
    if unlabeled not in (None, "train"):
        unlabeled = absolute(unlabeled)
    for name, new in (("data", data), ("unlabeled", unlabeled)):
        old = settings[name]
        if new != old and not _may_move(name, old, new):
            raise ValueError(f"{flag(name)} {new}: the run to resume has {old}, and keeps it")
    return {**settings, "data": data, "root": root, "unlabeled": unlabeled}


def check_metrics(records: list[dict[str, Any]], step: int, ended: bool) -> list[str]:
    """Lines on what metrics.jsonl lacks at this step. ValueError where the run is over and its end is not there."""
    at = next((r for r in reversed(records) if r["step"] == step), None)
    if step and ended and not (at and {"best_learner", "validation_loss", "validation_accuracy"} <= set(at)):
        raise ValueError(f"metrics.jsonl has no validation at step {step}, the last one of a run that is done")
    return [f"metrics.jsonl has no line of step {step}: it is not whole"] if step and at is None else []


def _may_move(name: str, old: str | None, new: str | None) -> bool:
    """Both are folders, or both came from Python: whether the images are the same, labels and pixels tell."""
    if name == "unlabeled":
        return not {old, new} & {None, "train"}
    return any(str(old).startswith(form) and str(new).startswith(form) for form in (FOLDER, PYTHON))
