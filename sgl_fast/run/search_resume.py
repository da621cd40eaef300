"""The settings of a search to resume: read back from its config.json, checked as if they had been typed. No torch."""

from __future__ import annotations

from typing import Any

from ..limits import check_kind, flag
from .command import FOLDER, absolute, located
from .identity import RUN
from .search_args import KINDS, check_kinds, settings_of

PLACES = ("data", "root", "unlabeled")  # may be elsewhere now, as long as the images are the same


def stored_settings(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Settings as `settings_of` gives them, and a line for each that an earlier version did not know.

    Those get their defaults. ValueError where a setting is unknown, or not of its kind, or could not have been typed.
    """
    where = "config.json"
    layers, dropout, nested = config.get("layers"), config.get("skip_dropout"), config.get("config")
    if not isinstance(layers, list) or not layers or not isinstance(nested, dict):
        raise ValueError(f"{where} holds no search")
    flat = {name: value for name, value in config.items() if name not in (RUN, "config", "skip_dropout")}
    given = {**flat, **nested, "layers": layers[0]}
    check_kinds(given, where, KINDS)
    settings = settings_of(given, "cpu")
    if settings["layers"] != layers:
        raise ValueError(f"{where}: layers needs {settings['layers']}; got {str(layers)[:60]}")
    if dropout is not None:
        _check_dropout(where, dropout, len(settings["skip_dropout"]))
        settings["skip_dropout"] = dropout
    known = {*settings, *settings["config"]} - {"config"}
    missing = sorted(name for name in known if name not in given and name != "skip_dropout")
    values = {**settings["config"], **settings}
    return settings, [f"{where} of an earlier version has no {name}: it is {values[name]!r}" for name in missing]


def check_resumed(given: dict[str, Any], settings: dict[str, Any]) -> None:
    """ValueError where an option asks for something else than the run to resume has."""
    stored = {**settings, **settings["config"], "layers": settings["layers"][0]}
    for name, value in given.items():
        if name in stored and name not in PLACES and stored[name] != value:
            raise ValueError(f"{flag(name)} {value}: the run to resume has {stored[name]}, and keeps it")


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
        if new != old and not all(_is_folder(name, value) for value in (old, new)):
            raise ValueError(f"{flag(name)} {new}: the run to resume has {old}, and keeps it")
    return {**settings, "data": data, "root": root, "unlabeled": unlabeled}


def check_metrics(records: list[dict[str, Any]], step: int, steps: int) -> list[str]:
    """Lines on what metrics.jsonl lacks at this step. ValueError where the run is over and its end is not there."""
    at = next((r for r in reversed(records) if r["step"] == step), None)
    if step and step == steps and not (at and {"best_learner", "validation_loss", "validation_accuracy"} <= set(at)):
        raise ValueError(f"metrics.jsonl has no validation at step {step}, the last one of a run that is done")
    return [f"metrics.jsonl has no line of step {step}: it is not whole"] if step and at is None else []


def _is_folder(name: str, value: str | None) -> bool:
    return value not in (None, "train") and (name == "unlabeled" or str(value).startswith(FOLDER))


def _check_dropout(where: str, rates: Any, stages: int) -> None:
    if not isinstance(rates, list) or len(rates) != stages:
        raise ValueError(f"{where}: skip_dropout needs {stages} rates; got {str(rates)[:60]}")
    for rate in rates:
        check_kind(where, "skip_dropout", rate, "float")
        if not 0 <= rate < 1:
            raise ValueError(f"{where}: skip_dropout needs rates from 0 to below 1; got {rate}")
