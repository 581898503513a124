"""`gatewayproxy check`: what it prints in each form, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatewayproxy.cli import main

SOUND = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web}
spec: {gatewayClassName: any, addresses: [{value: 127.0.0.1}], listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: away
spec:
  parentRefs: [{name: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]}]
"""
DANGLING = SOUND.replace("parentRefs: [{name: web}]", "parentRefs: [{name: web}, {name: gone}]")
SILENCED = DANGLING.replace("  name: away\n", '  name: away\n  annotations: {gatewayproxy.io/lint-ignore: "GW301"}\n')
UNKNOWN = SOUND.replace("  rules:", "  rulez:")


@pytest.mark.parametrize(
    ("text", "flags", "status"),
    [
        pytest.param(SOUND, [], 0, id="nothing to tell"),
        pytest.param(SOUND, ["--strict"], 0, id="nothing to tell, strictly"),
        pytest.param(DANGLING, [], 0, id="a warning"),
        pytest.param(DANGLING, ["--strict"], 1, id="a warning, strictly"),
        pytest.param(SILENCED, ["--strict"], 0, id="a silenced warning, strictly"),
        pytest.param(UNKNOWN, [], 1, id="an error"),
        pytest.param("a: b: c\n", [], 1, id="no YAML"),
    ],
)
@pytest.mark.parametrize("form", ["text", "json", "sarif", "github"])
def test_the_exit_status_is_the_same_in_every_form(
    text: str, flags: list[str], status: int, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert main(["check", str(tmp_path), "-o", form, *flags]) == status
    assert bool(capsys.readouterr().out) is (form in ("json", "sarif") or text not in (SOUND, SILENCED))


def test_text_ends_with_a_sum_of_what_was_told_and_silenced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(SILENCED)
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "2 objects, no errors, no warnings (1 silenced)\n"


def test_several_problems_are_counted_by_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(DANGLING.replace("{name: gone}", "{name: gone}, {name: gone-too}"))
    assert main(["check", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ("2 objects, no errors, 2 warnings\n  GW301  2 x  parent that does not exist\n")


def test_every_form_names_the_code_and_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(DANGLING)
    line = 1 + DANGLING[: DANGLING.index("parentRefs")].count("\n")

    def printed(form: str) -> str:
        main(["check", str(file), "-o", form])
        return capsys.readouterr().out

    assert printed("text").startswith(f"{file}:{line}: warning: Gateway default/gone does not exist [GW301]\n")
    (problem,) = json.loads(printed("json"))
    assert (problem["code"], problem["line"]) == ("GW301", line)
    (result,) = json.loads(printed("sarif"))["runs"][0]["results"]
    assert result["ruleId"] == "GW301"
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == line
    assert printed("github").startswith(f"::warning file={file},line={line},title=GW301 parent that does not exist::")
