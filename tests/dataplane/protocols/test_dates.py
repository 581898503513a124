"""The Date of the gateway's own answers."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from gatewayproxy.dataplane.protocols import dates
from gatewayproxy.dataplane.protocols.dates import dated


@pytest.mark.parametrize("lines", [b"", b"x-date: a\r\n", b"a: date:\r\n"], ids=["no lines", "other names", "a value"])
def test_an_answer_tells_when_it_was_made(lines: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dates, "time", time.time)
    name, _, rest = dated(lines).partition(b": ")
    date, _, others = rest.partition(b"\r\n")
    assert (name, others, date[-4:]) == (b"date", lines, b" GMT")
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 300


@pytest.mark.parametrize("lines", [b"date: then\r\n", b"a: b\r\nDate: then\r\n"], ids=["first", "behind another"])
def test_a_date_that_a_filter_gives_is_the_only_one(lines: bytes) -> None:
    assert dated(lines) == lines
