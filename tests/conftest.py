"""Options of the whole test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from gatewayproxy.dataplane.protocols import dates

# A busy machine is nobody's fault, nor is a run of examples that are filtered out or too large: examples are bounded in
# number, a test by pytest's timeout, and one that finds no example at all still fails.
CHANCE = (HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large)
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=CHANCE)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what the compiler says now into tests/golden")


@pytest.fixture(scope="session", autouse=True)
def in_one_second() -> Iterator[None]:
    """Have all answers that the gateway makes in this process tell one Date: many are compared byte for byte."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dates, "time", lambda: 1_800_000_000.0)
        yield
