"""The admin address of a running gateway, as commands ask it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Final

from gatewayproxy.errors import ConfigError, UsageError

__all__ = ["fetch"]

TIMEOUT_S: Final = 30.0
MAX_BYTES: Final = 512 << 20
_MAX_MESSAGE: Final = 4_096
_NOT_RUNNING: Final = "is it running? --server names its --admin address"
_OR_FILES: Final = "; or give CONFIG to read files"
_NOT_OURS: Final = "this is not a gatewayproxy admin address"


def fetch(
    server: str,
    path: str,
    *,
    act: bool = False,
    timeout_s: float | None = None,
    or_files: bool = False,
    absent: str = "",
) -> bytes:
    """Return what the gateway whose admin address is *server* has at *path*; raise ConfigError with its own words.

    *act*: have it do what *path* says. *or_files*: the command reads files as well, and an error says so.
    *absent*: why the gateway may not have *path*, and what to do then.
    """
    url = server if "://" in server else f"http://{server}"
    # Mostly a loopback address, whatever http_proxy says.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}{path}")
        if act:
            request.data = b""
            request.add_header("Content-Type", "application/json")
        with direct.open(request, timeout=timeout_s or TIMEOUT_S) as response:
            body: bytes = response.read(MAX_BYTES)
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, url, absent) from error
    except http.client.HTTPException as error:
        raise ConfigError(_NOT_OURS, where=url, hint="see --admin of run") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"no answer: {reason}", where=url, hint=_NOT_RUNNING + _OR_FILES * or_files) from error


def _refused(error: urllib.error.HTTPError, url: str, absent: str) -> ConfigError | UsageError:
    """Return what the gateway says of a request that it does not serve."""
    if error.headers.get_content_type() != "text/plain":
        return ConfigError(_NOT_OURS, where=url, hint="see --admin of run")
    if error.code == 404 and absent:
        return ConfigError(absent, where=url)
    raw = error.read(_MAX_MESSAGE).decode("utf-8", "replace").strip()
    said = "".join(each if each.isprintable() else "?" for each in raw)
    return UsageError(said) if error.code == 400 else ConfigError(f"{error.code}: {said}", where=url)
