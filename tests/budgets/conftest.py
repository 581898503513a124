"""Calls are counted while the loop's time stands still: no timer that is due by chance falls into a count."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest


class Still(asyncio.SelectorEventLoop):
    """A loop on which no timer is ever due."""

    def time(self) -> float:
        return 0.0


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of this folder on such a loop."""
    return {"still": Still}
