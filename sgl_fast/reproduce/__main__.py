"""python -m sgl_fast.reproduce."""

import sys

from ..run.command import started
from .command import main

if __name__ == "__main__":
    sys.exit(started(main))
