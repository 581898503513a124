"""Counts the Python calls that something costs: a figure that does not depend on the machine."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Iterator
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
