"""The history on the admin server: /history, /history/<n>, /history/diff/<a>/<b>, and POST /rollback/<n>.

The list names rules and times, as /status does. Manifests, and rolling back, are for those whom `ops.admin.Desk`
trusts; Secrets are left out for them, too. What is not there is 404, what cannot be done 409, with the reason in text.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.admin import Asked, Desk, Page, Reply
from gatewayproxy.ops.archive import Archive
from gatewayproxy.ops.compiling import CompilerProcess
from gatewayproxy.ops.control import Control
from gatewayproxy.ops.history import Generation, UnknownGenerationError

__all__ = ["HistoryPages"]

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_MOST_DIGITS: Final = 12


class HistoryPages:
    """The pages of one gateway."""

    def __init__(self, control: Control, compiler: CompilerProcess, archive: Archive) -> None:
        self._control = control
        self._compiler = compiler
        self._archive = archive

    def by_path(self) -> Mapping[str, Page | Desk]:
        """Return the pages, for an AdminServer."""
        return {
            "/history": self._list,
            "/history/": Desk(answer=_told(self._one), private=True),
            "/rollback/": Desk(answer=_told(self._rollback), private=True, acts=True),
        }

    async def _list(self) -> Reply:
        history = self._archive.history
        table = self._control.table
        return _reply(
            {
                "serving": table.generation if table is not None else 0,
                "rolled_back_to": self._control.rolled_back_to,
                "bounds": {"generations": history.bounds.generations, "bytes": history.bounds.n_bytes},
                "persistent": history.shelf is not None,
                "generations": [_brief(each) for each in history.generations],
            }
        )

    async def _one(self, asked: Asked) -> Reply:
        words = asked.rest.split("/")
        if words[0] == "diff" and len(words) == 3:
            return await self._diff(_number(words[1]), _number(words[2]))
        number = _number(asked.rest)
        documents = await self._archive.documents(number)
        shown = json.loads(await self._compiler.tell({"ask": "show"}, [documents]))
        return _reply({**self._archive.history.find(number).to_json(), **shown})

    async def _diff(self, old: int, new: int) -> Reply:
        documents = [await self._archive.documents(number) for number in (old, new)]
        names = [f"generation {old}", f"generation {new}"]
        return Reply(200, _JSON, await self._compiler.tell({"ask": "diff", "names": names}, documents))

    async def _rollback(self, asked: Asked) -> Reply:
        if self._control.table is None:
            return Reply(409, _TEXT, b"nothing serves yet: roll back when the gateway has started\n")
        report = await self._control.rollback(_number(asked.rest))
        if report["result"] == "failed":
            raise ConfigError(report["error"], hint=report.get("hint") or "")
        return _reply(report)


def _brief(generation: Generation) -> dict[str, Any]:
    """Return what is known of *generation*; of changes, how many."""
    changes = generation.changes
    return {**generation.to_json(), "changes": {"counts": changes["counts"]} if changes is not None else None}


def _told(answer: Callable[[Asked], Awaitable[Reply]]) -> Callable[[Asked], Awaitable[Reply]]:
    """Have *answer* say in the text of a 404 or 409 why there is none."""

    async def answer_or_reason(asked: Asked) -> Reply:
        try:
            return await answer(asked)
        except UnknownGenerationError as error:
            return Reply(404, _TEXT, f"{error}; gatewayproxy history lists them\n".encode())
        except ConfigError as error:
            return Reply(409, _TEXT, f"{error}{f'; {error.hint}' if error.hint else ''}\n".encode())

    return answer_or_reason


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise UnknownGenerationError(f"{text!r} is no number of a generation")
    return int(text)


def _reply(value: Mapping[str, Any], status: int = 200) -> Reply:
    return Reply(status, _JSON, json.dumps(value).encode())
