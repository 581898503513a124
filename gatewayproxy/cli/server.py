"""The admin address of a running gateway, as commands ask it."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Final

from gatewayproxy.errors import ConfigError, UsageError

__all__ = ["TIMEOUT_S", "fetch_object", "foreign"]

TIMEOUT_S: Final = 30.0
MAX_BYTES: Final = 512 << 20
_MAX_MESSAGE: Final = 4_096
_NOT_RUNNING: Final = "is it running? --server names its --admin address"
_OR_FILES: Final = "; or give CONFIG to read files"


def fetch_object(
    server: str,
    path: str,
    *,
    act: bool = False,
    timeout_s: float = TIMEOUT_S,
    or_files: bool = False,
    absent: str = "",
) -> dict[str, Any]:
    """Return the JSON object that the gateway whose admin address is *server* has at *path*.

    Raises ConfigError with the gateway's own words. *act*: have it do what *path* says. *or_files*: the command reads
    files as well, and an error says so. *absent*: why the gateway may not have *path*, and what to do then.
    """
    body = _fetch(server, path, act=act, timeout_s=timeout_s, or_files=or_files, absent=absent)
    try:
        value = json.loads(body)
    except ValueError as error:
        raise foreign(server) from error
    if not isinstance(value, dict):
        raise foreign(server)
    return value


def foreign(server: str) -> ConfigError:
    """Return the error that something else answers at *server*."""
    return ConfigError("this is not a gatewayproxy admin address", where=server, hint="see --admin of run")


def _fetch(server: str, path: str, *, act: bool, timeout_s: float, or_files: bool, absent: str) -> bytes:
    url = server if "://" in server else f"http://{server}"
    # Mostly a loopback address, whatever http_proxy says.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(f"{url.rstrip('/')}{path}")
        if act:
            request.data = b""
            request.add_header("Content-Type", "application/json")
        with direct.open(request, timeout=timeout_s) as response:
            body: bytes = response.read(MAX_BYTES)
            return body
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, url, absent) from error
    except http.client.HTTPException as error:
        raise foreign(url) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConfigError(f"no answer: {reason}", where=url, hint=_NOT_RUNNING + _OR_FILES * or_files) from error


def _refused(error: urllib.error.HTTPError, url: str, absent: str) -> ConfigError | UsageError:
    """Return what the gateway says of a request that it does not serve."""
    if error.headers.get_content_type() != "text/plain":
        return foreign(url)
    if error.code == 404 and absent:
        return ConfigError(absent, where=url)
    raw = error.read(_MAX_MESSAGE).decode("utf-8", "replace").strip()
    said = "".join(each if each.isprintable() else "?" for each in raw)
    return UsageError(said) if error.code == 400 else ConfigError(f"{error.code}: {said}", where=url)
