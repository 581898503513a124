"""The supervisor's side of compiling: a child that may do anything, a deadline, and an answer or a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gatewayproxy.errors import ConfigError
from gatewayproxy.ops.channel import OUT_OF_MEMORY, Kind, from_json
from gatewayproxy.ops.child import Child, describe_exit
from gatewayproxy.ops.options import RunOptions

__all__ = ["Answer", "CompilerProcess", "Refused"]

MAX_TABLE_BYTES: Final = 1 << 30  # slices of one table; beyond, the compilation fails
MAX_TELLING: Final = 2  # questions of the history under way or waiting
_MODULE: Final = "gatewayproxy.ops.compile_child"


@dataclass(slots=True)
class Answer:
    """What the child made: a table in slices (none if the digest is the one in force), the objects, the rest."""

    number: int = 0  # of the request
    head: dict[str, Any] = field(default_factory=dict)
    slices: list[bytes] = field(default_factory=list)
    status: bytes = b""
    memory: bytes = b""  # for the child after this one


class Refused(ConfigError):
    """The child compiled nothing that should serve; *head* is its answer."""

    def __init__(self, head: dict[str, Any]) -> None:
        super().__init__(head["error"], where=head["where"], hint=head["hint"])
        self.problems: list[dict[str, str]] = head.get("problems", [])


class CompilerProcess:
    """Keeps one compiling child, starts another when it has died. One compilation at a time."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._child: Child | None = None
        self._answer = Answer()
        self._n_requests = 0
        self._adopted = Answer()  # the one that serves
        self._n_bytes = 0
        self._done: asyncio.Future[Answer] | None = None
        self._turn = asyncio.Lock()
        self._n_telling = 0

    @property
    def pid(self) -> int | None:
        """Return the child's process id, if there is one."""
        return self._child.pid if self._child is not None else None

    @property
    def memory(self) -> bytes:
        """Return the texts of what serves, see `ops.memory`."""
        return self._adopted.memory

    async def compile(self, request: dict[str, Any], documents: bytes = b"") -> Answer:
        """Compile what is on disk, or *documents*; raise ConfigError with the reason where there is no table.

        `Refused` where the sources are at fault, otherwise the deadline, the memory bound, or a crash.
        """
        async with self._turn:
            self._n_requests += 1
            numbered = {
                **request,
                "number": self._n_requests,
                "adopted": self._adopted.number,
                "paths": list(self._options.paths),
            }
            answer = await self._ask(Kind.COMPILE, numbered, [documents] if documents else [])
        if not answer.head["ok"]:
            raise Refused(answer.head)
        return answer

    async def tell(self, question: dict[str, Any], documents: Sequence[bytes]) -> bytes:
        """Return what the child has to say of *documents*: `history_texts.tell`. Raise ConfigError as `compile`.

        At most MAX_TELLING questions wait, so that a reload need not wait for more.
        """
        if self._n_telling >= MAX_TELLING:
            raise ConfigError("too many others ask of the history just now", hint="ask again")
        self._n_telling += 1
        try:
            async with self._turn:
                return (await self._ask(Kind.TELL, question, documents)).status
        finally:
            self._n_telling -= 1

    async def _ask(self, kind: Kind, question: dict[str, Any], documents: Sequence[bytes]) -> Answer:
        if self._child is None:
            self._child = self._start()
        self._answer = Answer(self._n_requests)
        self._n_bytes = 0
        self._done = asyncio.get_running_loop().create_future()
        for each in documents:
            self._child.send_bytes(Kind.DOCUMENTS, each)
        self._child.send(kind, question)
        try:
            async with asyncio.timeout(self._options.compile_deadline_s):
                return await self._done
        except TimeoutError as error:
            await self.close()
            message = f"compiling took longer than {self._options.compile_deadline_s:g} s"
            raise ConfigError(message, hint="name fewer or smaller manifests") from error
        except asyncio.CancelledError:
            self._give_up()  # what it would still say is no answer to what is asked next
            raise
        finally:
            self._done = None

    def adopt(self, answer: Answer) -> None:
        """Take note that *answer* serves: its objects are what later ones with errors are held at."""
        self._adopted = Answer(answer.number, memory=answer.memory)

    async def move(self, paths: Sequence[str]) -> None:
        """Have later compilations read *paths*; what serves stays what it is."""
        async with self._turn:
            self._options = replace(self._options, paths=tuple(paths))

    async def close(self) -> None:
        """End the child."""
        if self._child is not None:
            child, self._child = self._child, None
            await child.end()

    def _give_up(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()

    def _start(self) -> Child:
        options = self._options
        child = Child(
            _MODULE,
            on_frame=lambda kind, payload: self._on_frame(child, kind, payload),
            on_exit=lambda status: self._on_exit(child, status),
        )
        settings = {
            "paths": list(options.paths),
            "controller_name": options.controller_name,
            "cluster_domain": options.cluster_domain,
            "port_map": list(options.port_map.items()),
            "address_pool": list(options.address_pool),
            "memory_bytes": options.compile_memory_bytes,
            "require_tests": options.require_tests,
        }
        child.send(Kind.CONFIGURE, settings)
        if self._adopted.memory:
            child.send_bytes(Kind.MEMORY, self._adopted.memory)
        return child

    def _on_frame(self, child: Child, kind: Kind, payload: bytes) -> None:
        if self._child is not child:
            return  # given up; what it still says must not get into the next answer
        if kind is Kind.TABLE_SLICE:
            self._n_bytes += len(payload)
            self._answer.slices.append(payload)
            if self._n_bytes > MAX_TABLE_BYTES:
                self._give_up()
                self._fail(f"the table takes more than {MAX_TABLE_BYTES >> 20} MiB")
        elif kind is Kind.STATUS:
            self._answer.status = payload
        elif kind is Kind.MEMORY:
            self._answer.memory = payload
        elif kind is Kind.COMPILE and self._done is not None and not self._done.done():
            self._answer.head = from_json(payload)
            self._done.set_result(self._answer)
            self._answer = Answer()
        elif kind is Kind.TELL and self._done is not None and not self._done.done():
            self._done.set_result(Answer(status=payload))

    def _on_exit(self, child: Child, status: int) -> None:
        if self._child is not child:
            return  # given up; what is asked by now is asked of another
        self._child = None
        if status == OUT_OF_MEMORY:
            self._fail(f"compiling needs more than {self._options.compile_memory_bytes >> 20} MiB")
        else:
            self._fail(f"the compiler died: {describe_exit(status)}", "its last words are in the log above")

    def _fail(self, message: str, hint: str = "name fewer or smaller manifests") -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConfigError(message, hint=hint))
