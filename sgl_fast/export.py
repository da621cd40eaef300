"""python -m sgl_fast.export RUN: a trained network as a file that other programs run. No torch before parsing."""

from __future__ import annotations

import sys

from .files import user_path
from .run.command import refuse, started
from .run.parser import Parser

PROG = "python -m sgl_fast.export"
FORMATS = (".onnx", ".pt2")  # of run/exported.py
EXAMPLES = f"""\
  {PROG} RUN                        RUN/network.onnx, for onnxruntime and whatever else reads ONNX
  {PROG} RUN --out network.pt2      for torch.export.load, AOTInductor, ExecuTorch
  {PROG} RUN --pixels               takes bytes as they are decoded, in place of normalised numbers
"""


def parser() -> Parser:
    p = Parser(PROG, "Export the network that an evaluation has trained, for any batch size.")
    p.usage, p.epilog = f"{PROG} RUN [OPTION ...]", f"examples:\n{EXAMPLES}"
    p.add_argument(
        "run", nargs="?", type=user_path, metavar="RUN", help="folder of an evaluation, or weights.safetensors"
    )
    p.add_argument(
        "--out", type=user_path, metavar="FILE", help=f"a name in {' or '.join(FORMATS)} [network.onnx, in the folder]"
    )
    p.add_argument("--average", action="store_true", help="the moving average of the weights, of a training with --ema")
    text = "images are bytes from 0 to 255, normalised inside [float32, normalised as in training]"
    p.add_argument("--pixels", action="store_true", help=text)
    return p


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 done, 2 no trained network, a package that is missing, or a file that cannot be written."""
    args = parser().parse_args(argv)
    try:
        if args.run is None:
            raise ValueError("need the folder of an evaluation: RUN")
        out = args.out or (args.run if args.run.is_dir() else args.run.parent) / "network.onnx"
        if out.suffix not in FORMATS:
            raise ValueError(f"--out: need a name in {' or '.join(FORMATS)}; got {out}")
        if not out.parent.is_dir():
            raise ValueError(f"--out: there is no folder {out.parent}")
        from .run.exported import export_network

        print(export_network(args.run, out, args.average, args.pixels))
    except (OSError, ValueError) as error:
        return refuse(PROG, error)
    return 0


if __name__ == "__main__":
    sys.exit(started(main))
