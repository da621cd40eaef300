"""What a command does in each of the processes of torchrun: who has the run's folder, how the end of one is told."""

from __future__ import annotations

import argparse
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from ..errors import RunStopped
from ..sgl import processes, ranks
from .command import FILES, Stopped, Unreadable, one_line_of
from .run_folder import Follower, RunFolder


class Resumable(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def run_of(args: argparse.Namespace) -> RunFolder:
    """The run's folder, of the first process alone; the config of a run to resume in all."""
    run: RunFolder = Follower(args.out)
    if ranks.is_main():
        run = RunFolder.open(args.out) if args.resume else RunFolder.create(args.out)
    if args.resume:
        run.config = processes.from_main(run.config)
    return run


def share_state(resumed: Resumable) -> None:
    """What the first process read from its checkpoint, in all."""
    if ranks.count() == 1:
        return
    state = processes.from_main(resumed.state_dict())
    if not ranks.is_main():
        resumed.load_state_dict(state)


@contextmanager
def mid_run(run: RunFolder) -> Iterator[None]:
    """Around a run under way: what ends it is a RunStopped that says what stays of it."""
    try:
        yield
    except Stopped as end:  # saved before
        name = signal.Signals(end.signal).name
        raise RunStopped(f"{name}; {_saved(run)}", 128 + end.signal) from None
    except Unreadable as end:
        raise RunStopped(f"{end}; {_saved(run)}", FILES) from end
    except (FloatingPointError, OSError) as error:
        raise _stopped(error, run) from error
    except ValueError as error:  # a fault of ours: no refusal
        raise RuntimeError(str(error)) from error
    except RuntimeError as error:
        if ranks.count() == 1 or not processes.is_silence(error):
            raise
        silent = RuntimeError(f"another process does not answer ({str(error).splitlines()[0]})")
        raise _stopped(silent, run) from error


def _saved(run: RunFolder) -> str:
    return f"saved at step {run.good}, where --resume {shlex.quote(str(run.folder))} goes on"


def _stopped(error: BaseException, run: RunFolder) -> RunStopped:
    """With what stays of a run that an error ended."""
    stays = "none yet" if run.good is None else f"step {run.good}"
    text = f"{one_line_of(error)}; last good checkpoint: {stays}"
    return RunStopped(text, FILES if isinstance(error, OSError) else 1)
