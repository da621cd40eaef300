"""Settings as users say them: flags, --set NAME=VALUE, TOML, a run's config.json, by one table of options. No torch."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..data.locate import DATASETS
from ..files import read_text, user_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RUN_GROUP = "the run"
# How DARTS, P-DARTS, PC-DARTS and their kin spell them.
SPELLINGS = {
    "learning_rate": "lr",
    "learning_rate_min": "lr_min",
    "arch_learning_rate": "arch_lr",
    "init_channels": "channels",
    "grad_clip": "clip",
    "unrolled": "order=2",
    "drop_path_prob": "drop_path",
    "cutout_length": "cutout",
    "arch": "genotype",
    "save": "out",
}
TYPES: dict[str, Any] = {"str": str, "path": str, "int": int, "float": (int, float), "bool": bool, "switch": bool}
NEEDS = {
    "str": "text",
    "path": "text",
    "int": "a whole number",
    "ints": "whole numbers with commas between them",
    "float": "a number",
    "floats": "numbers with commas between them",
    "bool": "true or false",
    "switch": "true or false",
}


@dataclass(frozen=True)
class Option:
    """What may be set.

    kind     str, int, float, bool or path, with "| None" or not; ints, floats: one or a list; switch: a bool without a
             "no"
    text     for help; group: its heading there; metavar: what stands for its value there
    choices  all that it may be
    default  of an option of the run itself; what settings are, where nobody says it, their commands decide
    """

    name: str
    kind: str
    text: str
    group: str = RUN_GROUP
    choices: tuple[Any, ...] = ()
    metavar: str = ""
    default: Any = None

    @property
    def plain(self) -> str:
        return self.kind.partition(" | ")[0]

    def from_text(self, text: str) -> Any:
        """The value that the text says. ValueError that says what is needed."""
        if self.takes_none(text):
            return None
        one: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "bool": _truth, "switch": _truth}
        kind = self.plain
        try:
            many = kind in ("ints", "floats")
            value = [one[kind[:-1]](part) for part in text.split(",")] if many else one.get(kind, str)(text)
        except ValueError:
            raise ValueError(f"need {NEEDS[kind]}; got {text:.80}") from None
        return self.checked(value)

    def checked(self, value: Any) -> Any:
        """The value, as TOML or JSON have it, if it is of the kind. ValueError that says what is needed."""
        kind = self.plain
        if self.takes_none(value):
            return None
        if self.choices and (value not in self.choices or isinstance(value, bool)):
            raise ValueError(f"need one of {', '.join(map(str, self.choices))}; got {str(value):.80}")
        if kind in ("ints", "floats"):
            values = value if isinstance(value, list) else [value]
            return [Option(self.name, kind[:-1], "").checked(one) for one in values]
        if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and TYPES[kind] is not bool):
            raise ValueError(f"need {NEEDS[kind]}; got {value!r:.80}")
        return user_path(value) if kind == "path" else value

    def takes_none(self, value: Any) -> bool:
        """Whether the value says that there is none: TOML and command lines have the word alone."""
        return self.kind.endswith("None") and (value is None or (value == "none" and self.plain in ("int", "float")))


def options_of(settings: type, kinds: Mapping[str, str] | None = None) -> list[Option]:
    """One for each field of a dataclass made of `setting`s, but those that follow from others."""
    found = []
    for f in fields(settings):
        if not f.metadata["derived"]:
            kind = (kinds or {}).get(f.name, str(f.type))
            found.append(Option(f.name, kind, f.metadata["text"], f.metadata["group"], f.metadata["choices"]))
    return found


device_option = Option("device", "str", "auto, cpu, cuda or cuda:N", metavar="NAME", default="auto")
data_option = Option(
    "data",
    "str",
    f"{', '.join(DATASETS)}; auto: the best that is found. A folder holds one folder a class, or train, val and, if "
    "there is one, test with those; images that would fill half of the free memory are read as they are needed",
    "images",
)
download_option = Option(
    "download", "switch", "fetch CIFAR's archives if they are missing, by torchvision", default=False
)
log_option = Option("log", "str", "also to csv, tensorboard, wandb", metavar="NAMES", default="none")
figures_option = Option("figures", "str", "formats of the pictures: png, svg, pdf; none", default="png,svg")


class Options(dict[str, Option]):
    """By name; what is not there is answered with the nearest that is."""

    def __init__(self, options: Iterable[Option]) -> None:
        super().__init__((option.name, option) for option in options)

    def find(self, name: str) -> Option:
        """By any spelling of its name."""
        plain = name.lstrip("-").replace("-", "_")
        found = self.get(SPELLINGS.get(plain, plain))
        if found is None:
            raise ValueError(f"{name!r:.80} is no option{self.nearest(plain)}")
        return found

    def nearest(self, name: str, more: Iterable[str] = (), spell: Callable[[str], str] = str) -> str:
        """Words on the options that are spelt almost so. more: names beside the table's; spell: how they are shown"""
        known = {one: one for one in (*self, *more)}
        known |= {one: ours for one, text in SPELLINGS.items() if (ours := text.partition("=")[0]) in self}
        near = dict.fromkeys(spell(known[one]) for one in get_close_matches(name, known, n=3, cutoff=0.6))
        return f"; near it: {', '.join(near)}" if near else "; --help lists them"

    def assigned(self, text: str) -> tuple[str, Any]:
        """NAME=VALUE -> name, value."""
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"need NAME=VALUE; got {text:.80}")
        option = self.find(name.strip())
        try:
            return option.name, option.from_text(value.strip())
        except ValueError as error:
            raise ValueError(f"{option.name}: {error}") from None

    def checked(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Of a file: every name known, every value of its kind."""
        found: dict[str, Any] = {}
        for name, value in values.items():
            try:
                option = self.find(name)
                if option.name in found:
                    raise ValueError(f"it is set twice ({name})")
                found[option.name] = option.checked(value)
            except ValueError as error:
                raise ValueError(f"{where}: {_told(name, error)}") from None
        return found

    def read(self, path: Path, flat: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """What a TOML file says, a run's config.json or the run's folder; flat: the options that give a config.json."""
        path = path / "config.json" if path.is_dir() else path
        where = f"--config: {path}"
        try:
            text = read_text(path, 1 << 20)
            is_json = text.lstrip().startswith("{")
            content = json.loads(text) if is_json else tomllib.loads(text)
            values = flat(content) if is_json else _flattened(content)
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"--config: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        return self.checked(values, where)

    def toml(self, values: Mapping[str, Any], head: str) -> str:
        """TOML that `read` takes, a table for each group. Texts that are not set, and unknown names, are left out."""
        lines, group = [f"# {head}"], None
        for option in sorted(self.values(), key=lambda one: list(self.groups()).index(one.group)):
            value = values.get(option.name)
            if option.name not in values or (value is None and option.plain not in ("int", "float")):
                continue
            if option.group != group:
                group = option.group
                lines += ["", f"[{group.replace(' ', '_')}]"]
            lines.append(f"{option.name} = {_as_toml('none' if value is None else value)}")
        return "\n".join(lines)

    def given(self, args: Namespace, flat: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Settings that the command line, or below it the file of --config, say. What they, or defaults, say of the run
        itself goes into args. flat: as in `read`
        """
        said = {name: value for name, value in vars(args).items() if name in self}
        given = {**(self.read(args.config, flat) if args.config else {}), **said}
        for option in self.values():
            if option.group == RUN_GROUP:
                setattr(args, option.name, given.pop(option.name, option.default))
        return given

    def groups(self) -> dict[str, list[Option]]:
        """By heading, in the order in which they come first."""
        found: dict[str, list[Option]] = {}
        for option in self.values():
            found.setdefault(option.group, []).append(option)
        return found


def _told(name: str, error: ValueError) -> str:
    said = str(error)
    return said if "no option" in said else f"{name}: {said}"


def _flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """A TOML table with the keys of the tables in it. ValueError where two have the same."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        for name, one in (_flattened(value) if isinstance(value, Mapping) else {key: value}).items():
            if name in found:
                raise ValueError(f"{name} is set twice")
            found[name] = one
    return found


def _truth(text: str) -> bool:
    found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(text.lower())
    if found is None:
        raise ValueError(text)
    return found


def shown(value: Any) -> str:
    """A setting as its option takes it."""
    if isinstance(value, list):
        return ",".join(map(shown, value))
    words = {True: "true", False: "false", None: "none"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _as_toml(value: Any) -> str:
    return str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
