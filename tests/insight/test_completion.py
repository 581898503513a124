import subprocess

import pytest

from gatewayproxy.cli import main
from gatewayproxy.insight.completion import SHELLS
from tests.support.peers import require


def completed(script: str, *words: str) -> list[str]:
    """Ask a real bash what it would offer for the last of *words*."""
    ask = f"""{script}
COMP_WORDS=({" ".join(repr(word) for word in words)}) COMP_CWORD={len(words) - 1}
_gatewayproxy
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run([require("bash"), "--norc", "-c", ask], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def bash_script(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(("gatewayproxy", "ru"), ["run", "rules"], id="commands"),
        pytest.param(("gatewayproxy", "get", "httpr"), ["httproutes"], id="kinds"),
        pytest.param(("gatewayproxy", "run", "--map"), ["--map-port"], id="flags"),
        pytest.param(("gatewayproxy", "explain", "--s"), ["--server", "--svg"], id="flags of explain"),
        pytest.param(("gatewayproxy", "test", "--re"), ["--require-coverage", "--record"], id="flags of test"),
        pytest.param(("gatewayproxy", "test", "-o", "j"), ["json", "junit"], id="forms of a test's report"),
        pytest.param(("gatewayproxy", "history", "d"), ["diff"], id="the word of history"),
        pytest.param(("gatewayproxy", "run", "--log-level", "d"), ["debug"], id="values of a flag"),
        pytest.param(("gatewayproxy", "get", "-o", "js"), ["json", "jsonpath="], id="forms of output"),
        pytest.param(("gatewayproxy", "get", "-A", "-n", "shop", "httpr"), ["httproutes"], id="kinds after flags"),
        pytest.param(("gatewayproxy", "get", "svc", "httpr"), [], id="a kind only once"),
        pytest.param(("gatewayproxy", "get", "-n", "httpr"), [], id="no kind as the value of a flag"),
    ],
)
def test_bash_offers(bash_script: str, words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(bash_script, *words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_gets_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in ("run", "check", "get", "version", "completion", "httproutes"))
