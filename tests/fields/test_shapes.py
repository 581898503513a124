"""Shapes that many kinds share. What the official schemas say of them is tested beside the manifests."""

from __future__ import annotations

import pytest

from gatewayproxy.fields import Text
from gatewayproxy.fields.shapes import (
    DURATION,
    GROUP,
    HEADER_NAME,
    HEADER_VALUE,
    HOSTNAME,
    KIND,
    LABEL,
    PRECISE_HOSTNAME,
    SUBDOMAIN,
    duration_s,
)
from tests.support.calls import cpu_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0.0), ("500ms", 0.5), ("10s", 10.0), ("1m30s", 90.0), ("1h1m1s1ms", 3661.001), ("99999h", 359_996_400.0)],
)
def test_a_duration_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert DURATION.flaw(text) == ""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "1.5s", "-1s", "1d", "s", "123456s", "1s1s1s1s1s", "1s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert DURATION.flaw(text)


@pytest.mark.parametrize(
    "shape", [DURATION, GROUP, HEADER_NAME, HEADER_VALUE, HOSTNAME, KIND, LABEL, PRECISE_HOSTNAME, SUBDOMAIN]
)
def test_no_shape_takes_long_over_a_hostile_string(shape: Text) -> None:
    def look() -> None:
        for piece in ("a", "-", "a-", "a.", "! ", "1s", "*.", "0"):
            assert shape.flaw((piece * 4096)[:4095] + "\x00")
            assert shape.match is not None
            shape.match((piece * 2000)[:1999] + "\x00")

    assert cpu_s(look) < 2.0
