"""What several tools say alike: bytes as text, lines for a terminal, columns, certificates, retries. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from gatewayproxy.model.plan import Certificate
from gatewayproxy.model.traffic import Retry

__all__ = ["aligned", "certificate_text", "decoded", "printable", "retry_text"]


def printable(text: str) -> str:
    """Return *text* without anything that a terminal would act on."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def decoded(raw: bytes) -> str:
    """Return *raw* as text; bytes that are no UTF-8 are escaped."""
    return raw.decode("utf-8", "backslashreplace")


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Return *rows*, all of one length, as lines with their columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def certificate_text(certificate: Certificate) -> str:
    """Return whom *certificate* is for, and until when."""
    until = datetime.datetime.fromtimestamp(certificate.not_after, datetime.UTC).date()
    return f"{', '.join(certificate.names) or 'without names'}; until {until}"


def retry_text(retry: Retry) -> str:
    """Return how often *retry* tries again, and after what."""
    codes = f", after {', '.join(map(str, retry.codes))}" if retry.codes else ""
    return f"{retry.attempts} more, {retry.backoff_s:g} s apart at least{codes}"
