"""A command line made of a table of options: help by headings, refusals of one line that name the flag. No torch."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .. import __version__
from ..errors import one_line
from ..files import user_path
from ..limits import flag
from .options import RUN_GROUP, SPELLINGS, Option, Options

METAVARS = {"int": "N", "ints": "N", "float": "X", "floats": "X", "path": "DIR", "str": "NAME"}
EXIT_CODES = """\
exit codes:
  0    done
  1    a number is not finite; the last good checkpoint stays
  2    bad arguments, data or run folder, said in one line; nothing is changed
  3    a file could not be read or written in mid-run; --resume goes on
  130, 143   stopped by Ctrl-C or a SIGTERM after a checkpoint; --resume goes on
"""


class Parser(argparse.ArgumentParser):
    """Options may be spelt with underscores, and as the codebases of the DARTS family spell them. They may not be
    abbreviated, since a new one would make that ambiguous. What is not said is not in the namespace.

    defaults   words on the default of an option, by name
    examples   lines for the end of help
    """

    def __init__(
        self,
        prog: str,
        description: str,
        options: Options | None = None,
        defaults: Mapping[str, str] | None = None,
        examples: str = "",
    ) -> None:
        epilog = f"{EXIT_CODES}\nexamples:\n{examples}" if examples else None
        super().__init__(
            prog=prog,
            usage="%(prog)s [OPTION ...]",
            description=description,
            epilog=epilog,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.options = options or Options([])
        self.add_argument("--version", action="version", version=f"sgl_fast {__version__}", help="print it, and end")
        for title, group in self.options.groups().items():
            self.heading = self.add_argument_group(title)  # of the options that are added last
            for option in group:
                self._add(option, (defaults or {}).get(option.name, ""))

    def _add(self, option: Option, default: str) -> None:
        if option.group == RUN_GROUP and option.default not in (None, False):
            default = str(option.default)
        text = option.text
        if option.choices and not all(re.search(rf"\b{choice}\b", text) for choice in option.choices):
            text += f": {', '.join(map(str, option.choices))}"
        text = f"{text} [{default}]" if default else text
        common: dict[str, Any] = {"dest": option.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
        if option.plain == "switch":
            self.heading.add_argument(flag(option.name), action="store_const", const=True, **common)
        elif option.plain == "bool":
            self.heading.add_argument(flag(option.name), action=argparse.BooleanOptionalAction, **common)
        else:
            metavar = option.metavar or METAVARS[option.plain]
            self.heading.add_argument(flag(option.name), type=_reader(option.from_text), metavar=metavar, **common)

    def add_settings_file(self) -> None:
        """--config, --set and --print-config."""
        add = self.heading.add_argument
        text = "settings from a TOML file, tables allowed, or from a run's config.json; options go before it"
        add("--config", type=user_path, metavar="FILE", help=text)
        add(
            "--set",
            action=_Set,
            metavar="NAME=VALUE",
            help="an option by its name, with _ or -",
            dest=argparse.SUPPRESS,
        )
        add("--print-config", action="store_true", help="print the settings as TOML that --config takes, and end")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """An unknown option is answered with the nearest ones."""
        words = [self._spelled(word) for word in (sys.argv[1:] if args is None else args)]
        found, unknown = self.parse_known_args(words, namespace)
        if unknown:
            word = unknown[0].partition("=")[0]
            if not word.startswith("-"):
                self.error(f"unexpected argument {word}: options begin with --")
            own = [name[2:].replace("-", "_") for name in self._option_string_actions if name.startswith("--")]
            plain = word.lstrip("-").replace("-", "_")
            self.error(f"unknown option {word}{self.options.nearest(plain, own, flag)}")
        return found

    def _spelled(self, word: str) -> str:
        """A flag as it stands in the table."""
        if not word.startswith("--"):
            return word
        name, equals, value = word[2:].partition("=")
        plain = name.replace("-", "_")
        ours = SPELLINGS.get(plain, plain)
        if plain in self.options or ours.partition("=")[0] not in self.options:
            ours = plain
        return f"{flag(ours)}{equals}{value}"

    def error(self, message: str) -> NoReturn:
        said = re.sub(r"^argument (--?[\w-]+)(/[^:]*)?: ", r"\1: ", message)
        self.exit(2, f"{self.prog}: {one_line(said)}\n")


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class _Set(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        try:
            name, value = parser.options.assigned(values)
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, name, value)


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def reader(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return reader
