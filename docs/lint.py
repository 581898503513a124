"""Write docs/lint.md: what each code means, with an example that fires it. `make docs` runs it, a test holds it true.

docs/lint/<code>.yaml has the example: manifests after a line "# fires", then what they should be after "# fixed".
Certificates are made as they are asked for, by annotations of the Secrets: gatewayproxy.io/cert-file and key-file name
the files, demo.gatewayproxy.io/names what they are for, demo.gatewayproxy.io/days how long they are good from NOW on.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import trustme
import yaml

from gatewayproxy.insight import check
from gatewayproxy.insight.lint import LINT_IGNORE, LINTS, Judged, Lint, lint
from gatewayproxy.model.source import CompileOptions, Source

FOLDER: Final = Path(__file__).parent / "lint"
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
FAMILIES: Final = {
    "0": "Texts",
    "1": "Who gets a request",
    "2": "Certificates",
    "3": "References, grants and policies",
    "4": "What a rule does",
    "5": "Gateways, listeners and endpoints",
    "9": "Silences",
}
HEAD: Final = f"""\
# What `gatewayproxy check` tells

Look up a code that `check` printed: what it means, an example that fires it, the example mended. `check` reads what
`run` reads, opens no socket, and tells each problem with file, line, object, field, what to do about it, and a code.
Codes are stable: none ever comes to mean another problem. Written by `make docs` from the code and from docs/lint/.

    gatewayproxy check manifests/                        for people
    gatewayproxy check manifests/ --strict               exit status 1 for warnings, too
    gatewayproxy check manifests/ -o github              in a workflow of GitHub: beside the lines of a pull request
    gatewayproxy check manifests/ -o sarif > out.sarif   for code scanning (SARIF 2.1.0)
    gatewayproxy check manifests/ -o json                for programs

**error**: the text must change; what it says does not serve, or not as it is written. **warning**: it serves, and
hardly does what it is meant to. Exit status: 0 without errors, 1 with them (`--strict`: or with warnings), 2 if the
command is wrong.

## Silence a code on one object

    metadata:
      annotations:
        {LINT_IGNORE}: "GW102, GW109"

Say why in a comment beside it. What is silenced stays in SARIF, as suppressed. A silence that silences nothing is told
itself (GW901).

The examples below are whole in docs/lint/; here they lack the Services and Secrets beside them.
"""


class Example(NamedTuple):
    """Manifests that fire a code, and the same without the problem."""

    fires: str
    fixed: str


def example(code: str) -> Example:
    """Return the example of *code*."""
    text = (FOLDER / f"{code}.yaml").read_text()
    _, _, rest = text.partition("# fires\n")
    fires, mark, fixed = rest.partition("# fixed\n")
    if not mark:
        raise ValueError(f"docs/lint/{code}.yaml has no line '# fires', and then '# fixed'")
    return Example(fires.rstrip("\n") + "\n", fixed.rstrip("\n") + "\n")


def judged(text: str) -> Judged:
    """Return what is told of *text*, read as example.yaml at NOW."""
    made = _files(text)
    options = CompileOptions(now=NOW.timestamp(), address_pool=("192.0.2.1",))
    return lint([Source("example.yaml", text.encode())], options, lambda names: {n: made.get(n) for n in names})[1]


def _files(text: str) -> dict[str, bytes]:
    try:
        trees = [tree for tree in yaml.safe_load_all(text) if isinstance(tree, dict)]
    except yaml.YAMLError:
        return {}
    found: dict[str, bytes] = {}
    for tree in trees:
        metadata: dict[str, Any] = tree.get("metadata") or {}
        annotations = metadata.get("annotations") or {}
        if names := annotations.get("demo.gatewayproxy.io/names"):
            made = _certificate(names, int(annotations.get("demo.gatewayproxy.io/days", "90")))
            found[annotations["gatewayproxy.io/cert-file"]], found[annotations["gatewayproxy.io/key-file"]] = made
    return found


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def _certificate(names: str, days: int) -> tuple[bytes, bytes]:
    leaf = _authority().issue_cert(*names.split(", "), not_after=NOW + timedelta(days=days, hours=1))
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes()


def section(code: str, about: Lint) -> str:
    """Return what the page says of one code."""
    fires, fixed = example(code)
    told = check.to_text(judged(fires).told)
    silence = "" if about.on_object else " It belongs to no object: nothing silences it."
    shown = "---\n".join(part for part in fires.split("---\n") if part not in fixed or not _is_scenery(part))
    changed = list(difflib.unified_diff(fires.splitlines(), fixed.splitlines(), lineterm="", n=2))[2:]
    diff = "\n".join(line for line in changed if not line.startswith("@@"))
    return (
        f"### {code}\n\n**{about.title[0].upper()}{about.title[1:]}** ({about.severity.value}). {about.meaning}\n\n"
        f"```yaml\n{shown}```\n\n```text\n{told}```\n\nFix: {about.fix}{silence}\n\n```diff\n{diff}\n```\n"
    )


def _is_scenery(manifest: str) -> bool:
    return any(f"\nkind: {kind}\n" in manifest for kind in ("Service", "Secret"))


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for digit, title in FAMILIES.items():
        codes = sorted(code for code in LINTS if code[2] == digit)
        parts += [f"## {title}\n", *(f"- [{code}](#{code.lower()}) {LINTS[code].title}" for code in codes), ""]
        parts += [section(code, LINTS[code]) for code in codes]
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
