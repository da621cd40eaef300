"""sgl-fast COMMAND ..., the same as python -m sgl_fast COMMAND ...: the command lines under one name."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module

from .run.command import started
from .run.parser import Parser

COMMANDS = {
    "search": "search architectures with a small group of learners",
    "evaluate": "train the network that a genotype denotes, test or count it",
    "reproduce": "run an experiment of the paper: its table or figure, search by search",
    "export": "a trained network as ONNX or torch.export's program",
    "compare": "runs side by side, mean and deviation over seeds",
    "precompile": "compile the GPU kernels of a search where there is no GPU",
    "doctor": "what runs on this machine, what does not, and the remedy",
}


def parser() -> Parser:
    p = Parser("sgl-fast", "Small-Group Learning for neural architecture search.")
    p.usage = "sgl-fast COMMAND [OPTION ...]"
    commands = p.add_argument_group("commands (sgl-fast COMMAND --help says more)")
    for name, text in COMMANDS.items():
        commands.add_argument(name, nargs="?", help=text)
    return p


def main(argv: list[str] | None = None) -> int:
    """The command's exit code."""
    words = sys.argv[1:] if argv is None else argv
    command = words[0] if words else "--help"
    if command in COMMANDS:
        code: int = import_module(f".{command}", __package__).main(words[1:])
        return code
    if not command.startswith("-"):
        near = get_close_matches(command, COMMANDS)
        parser().error(f"unknown command {command}; " + (f"near it: {near[0]}" if near else ", ".join(COMMANDS)))
    parser().parse_args([command])
    return 2


def program() -> int:
    """As the console script calls it."""
    return started(main)


if __name__ == "__main__":
    sys.exit(program())
