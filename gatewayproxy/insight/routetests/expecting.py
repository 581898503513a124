"""A Decision as what a test expects, in as few fields as say it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gatewayproxy.compiler.manifests.meta import DEFAULT_NAMESPACE
from gatewayproxy.insight.decision import Decision
from gatewayproxy.insight.outcomes import Answer, Outcome

__all__ = ["expectation_tree"]

# What every backend gets from the gateway; a test may ask for it, and a recorded one need not.
_OWN: Final = frozenset((
    "host", "via", "x-request-id", "te", "max-forwards", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-port",
    "x-forwarded-host",
))  # fmt: skip


def expectation_tree(decision: Decision) -> dict[str, Any]:
    """Return the `expect` of a test in the default namespace that *decision* passes."""
    tree: dict[str, Any] = {"listener": decision.listener} if decision.listener else {}
    tree |= _certificate(decision)
    if decision.entry is not None:
        label = decision.entry.label
        name = label.route.removeprefix(f"{DEFAULT_NAMESPACE}/")
        tree |= {"route": f"{label.kind} {name}", "rule": label.rule_name or label.rule}
    taken = [each for each in decision.outcomes if each.weight]
    if decision.answer is not None:
        return tree | _answer(decision.answer)
    if len(taken) == 1 and taken[0].answer is not None and not taken[0].name:
        return tree | _answer(taken[0].answer)
    return tree | {"backends": [_backend(each, alone=len(taken) == 1) for each in taken]} | _messages(decision, taken)


def _certificate(decision: Decision) -> dict[str, str]:
    """Return the name by which the certificates have the host, the first one where none of theirs does."""
    names = [set(each.names) for each in decision.certificates]
    common = set.intersection(*names) if names else set()
    server_name = (decision.request.server_name or b"").decode("latin-1")
    covering = (server_name, "*" + server_name[server_name.find(".") :])
    chosen = next((name for name in covering if name in common), min(common, default=""))
    return {"certificate": chosen} if chosen else {}


def _answer(answer: Answer) -> dict[str, Any]:
    where = next((line[9:].strip() for line in answer.lines if line[:9].lower() == "location:"), "")
    if where:
        return {"status": answer.status, "redirect": where}
    status = {"status": answer.status} if answer.status else {"refused": True}
    return {**status, "reason": answer.reason}


def _backend(outcome: Outcome, *, alone: bool) -> dict[str, Any]:
    full_name, _, port = outcome.name.rpartition(":")
    namespace, _, name = (full_name or port).rpartition("/")
    tree: dict[str, Any] = {"name": name}
    tree |= {"namespace": namespace} if namespace != DEFAULT_NAMESPACE else {}
    tree |= {"port": int(port)} if full_name and port.isdigit() else {}
    tree |= {} if alone else {"weight": outcome.weight}
    return tree | ({"status": outcome.answer.status} if outcome.answer is not None else {})


def _messages(decision: Decision, taken: Sequence[Outcome]) -> dict[str, Any]:
    """Return what filters change, where all backends see the same."""
    reached = [each for each in taken if each.cluster is not None]
    tree: dict[str, Any] = {}
    if len({each.head for each in reached}) == 1 and reached[0].head:
        sees = _request_changes(decision, reached[0].head)
        tree |= {"backendSees": sees} if sees else {}
    if len({each.response for each in reached}) == 1:
        sees = _response_changes(reached[0])
        tree |= {"clientSees": sees} if sees else {}
    return tree


def _request_changes(decision: Decision, head: Sequence[str]) -> dict[str, Any]:
    request = decision.request
    target = head[0].partition(" ")[2].rpartition(" ")[0]
    fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in head[1:])]
    host = next((value for name, value in fields if name == "host"), "")
    sent = {name.lower().decode("latin-1") for name, _ in request.headers}
    tree: dict[str, Any] = {}
    tree |= {"host": host} if host.encode("latin-1") != request.authority else {}
    path = target.partition("?")[0]
    tree |= {"path": path} if path.encode("latin-1") != request.path else {}
    added = [{"name": name, "value": value} for name, value in fields if name not in _OWN and name not in sent]
    gone = sorted(sent - {name for name, _ in fields} - {"connection", "upgrade"})
    tree |= {"headers": added} if added else {}
    return tree | ({"absent": gone} if gone else {})


def _response_changes(outcome: Outcome) -> dict[str, Any]:
    edit = outcome.response
    if edit is None:
        return {}
    lines = (line.partition(":") for line in edit.append.decode("latin-1").split("\r\n") if line)
    added = [{"name": name.lower(), "value": value.strip()} for name, _, value in lines]
    cut = {name.decode("latin-1") for name in edit.cut} - {each["name"] for each in added}
    tree: dict[str, Any] = {"headers": added} if added else {}
    return tree | ({"absent": sorted(cut)} if cut else {})
