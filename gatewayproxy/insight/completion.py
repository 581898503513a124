"""Shell completion: scripts for bash, zsh and fish, written from the grammar of the command line. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from gatewayproxy.errors import UsageError
from gatewayproxy.insight.kinds import KINDS

__all__ = ["SHELLS", "Command", "Flag", "script"]


class Flag(NamedTuple):
    """An option: its spellings, the words it may be given (() = none or anything), one line of help."""

    names: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...] = ()
    help: str = ""


class Command(NamedTuple):
    """A subcommand; *words* complete its first argument (() = file names)."""

    name: str
    help: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...] = ()


SHELLS: Final = ("bash", "zsh", "fish")
KIND_WORDS: Final = ("all", *(name for info in KINDS for name in (info.plural, *info.short)))


def script(shell: str, program: str, commands: Sequence[Command]) -> str:
    """Return the completion script of *program* for *shell*; raise UsageError for another shell."""
    if shell == "bash":
        return _bash(program, commands)
    if shell == "zsh":  # zsh runs bash completions
        return f"#compdef {program}\nautoload -U +X bashcompinit && bashcompinit\n{_bash(program, commands)}"
    if shell == "fish":
        return _fish(program, commands)
    raise UsageError(f"no completion for {shell!r}; known: {', '.join(SHELLS)}")


def _bash(program: str, commands: Sequence[Command]) -> str:
    function = "_" + re.sub(r"\W", "_", program)
    cases = "".join(_bash_case(command) for command in commands)
    values = "".join(
        f"    {command.name}:{name}) words='{' '.join(flag.choices)}' ;;\n"
        for command in commands
        for flag in command.flags
        if flag.choices
        for name in flag.names
    )
    return f"""\
{function}() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command=${{COMP_WORDS[1]}}
  local words='' flags='' valued='' first='' index=2 given=0
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{" ".join(command.name for command in commands)}' -- "$current"))
    return
  fi
  case "$command:$previous" in
{values}    *) ;;
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  case "$command" in
{cases}  esac
  while [ "$index" -lt "$COMP_CWORD" ]; do
    case "$valued " in
      *" ${{COMP_WORDS[index]}} "*) index=$((index + 1)) ;;
      *) [ "${{COMP_WORDS[index]#-}}" != "${{COMP_WORDS[index]}}" ] || given=$((given + 1)) ;;
    esac
    index=$((index + 1))
  done
  if [ "$index" -gt "$COMP_CWORD" ]; then
    COMPREPLY=($(compgen -f -- "$current"))
  elif [ "${{current#-}}" != "$current" ]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [ -n "$first" ] && [ "$given" -eq 0 ]; then
    COMPREPLY=($(compgen -W "$first" -- "$current"))
  else
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}}
complete -o filenames -F {function} {program}
"""


def _bash_case(command: Command) -> str:
    flags = " ".join(name for flag in command.flags for name in flag.names)
    valued = "".join(f" {name}" for flag in command.flags if flag.takes_value for name in flag.names)
    return f"    {command.name}) flags='{flags}' valued='{valued}' first='{' '.join(command.words)}' ;;\n"


def _fish(program: str, commands: Sequence[Command]) -> str:
    lines = []
    for command in commands:
        lines.append(f"complete -c {program} -n __fish_use_subcommand -f -a {command.name} -d {_quoted(command.help)}")
        here = f"complete -c {program} -n '__fish_seen_subcommand_from {command.name}'"
        if command.words:
            lines.append(f"{here} -a {_quoted(' '.join(command.words))}")
        lines += [here + _fish_flag(flag) for flag in command.flags]
    return "\n".join(lines) + "\n"


def _fish_flag(flag: Flag) -> str:
    names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in flag.names)
    value = " -r" * flag.takes_value + (f" -f -a {_quoted(' '.join(flag.choices))}" if flag.choices else "")
    return f"{names}{value} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
