"""What the compiling child tells of documents in the history: their texts, and how the tables of two differ.

The supervisor keeps documents as opaque bytes (`ops.memory`) and reads no manifest; what is to be shown of them,
Secrets left out, is written here.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from gatewayproxy.insight.offline import restored
from gatewayproxy.insight.withheld import shown_texts
from gatewayproxy.model.source import CompileOptions
from gatewayproxy.ops import memory
from gatewayproxy.ops.channel import to_json
from gatewayproxy.ops.sources import read_files

__all__ = ["tell"]

MAX_SHOWN_CHARS: Final = 64 << 20  # of all texts; the rest is left out, and said so


def tell(question: Mapping[str, Any], documents: Sequence[bytes], options: CompileOptions) -> bytes:
    """Return the answer to *question*, JSON: its `ask` is a key of `_ANSWERS`."""
    return to_json(_ANSWERS[question["ask"]](question, documents, options))


def _show(_: Mapping[str, Any], documents: Sequence[bytes], __: CompileOptions) -> dict[str, Any]:
    then = memory.unpack(documents[0])
    files: list[dict[str, str]] = []
    room = MAX_SHOWN_CHARS
    for name, text in shown_texts(then.sources):
        room -= len(text)
        if room < 0:
            files.append({"name": "", "text": f"# further files are left out: beyond {MAX_SHOWN_CHARS} characters\n"})
            break
        files.append({"name": name, "text": text})
    held = [{"origin": f"{each.file}:{each.line}", "generation": each.generation} for each in then.held]
    return {"files": files, "held": held}


def _diff(question: Mapping[str, Any], documents: Sequence[bytes], options: CompileOptions) -> dict[str, Any]:
    from gatewayproxy.insight.diff import compare  # a reload does without
    from gatewayproxy.insight.diff.report import FORMS

    old, new = map(memory.unpack, documents)
    diff = compare(*(restored(each.sources, each.held, options, read_files) for each in (old, new)))
    before, after = (dict(shown_texts(each.sources)) for each in (old, new))
    return {
        "same": diff.same,
        **{form: FORMS[form](diff, None, every=False) for form in ("text", "markdown", "json")},
        "manifests": "".join(_unified(before, after, question["names"])),
    }


def _unified(old: Mapping[str, str], new: Mapping[str, str], names: Sequence[str]) -> Iterator[str]:
    for file in sorted(old.keys() | new.keys()):
        before, after = (texts.get(file, "").splitlines(keepends=True) for texts in (old, new))
        from_name, to_name = (
            f"{file}\t{name}" if file in texts else "/dev/null" for texts, name in zip((old, new), names, strict=True)
        )
        for line in difflib.unified_diff(before, after, from_name, to_name):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


_ANSWERS: Final[Mapping[str, Callable[[Mapping[str, Any], Sequence[bytes], CompileOptions], dict[str, Any]]]] = {
    "show": _show,
    "diff": _diff,
}
