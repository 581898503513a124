"""What something costs: Python calls, a figure that does not depend on the machine, or seconds of computing."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import gatewayproxy

OURS = str(Path(gatewayproxy.__file__).parent)


@contextmanager
def counted(calls: Counter[str], below: str = OURS) -> Iterator[None]:
    """Add to *calls*, by the name of the function, those of functions whose file's path begins with *below*.

    The garbage collector rests meanwhile: a collection that happened to fall into the count would add the calls of
    finalizers and of those who watch it.
    """

    def count(frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(below):
            calls[frame.f_code.co_name] += 1

    gc.disable()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
        gc.enable()


def cpu_s(work: Callable[[], object]) -> float:
    """Return how long *work* computes: in this thread alone, and while the garbage collector rests."""
    gc.disable()
    began_at = time.thread_time()
    try:
        work()
        return time.thread_time() - began_at
    finally:
        gc.enable()


def leaves_nothing(work: Callable[[], object]) -> bool:
    """Return whether *work* leaves nothing to the garbage collector.

    What it leaves, it leaves each time; what another thread left meanwhile is not there again.
    """
    for _ in range(3):
        gc.collect()
        gc.disable()
        try:
            work()
            if gc.collect() == 0:
                return True
        finally:
            gc.enable()
    return False
