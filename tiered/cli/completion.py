"""`tiered completion`: a script that completes commands and options in a shell."""

from __future__ import annotations

import argparse
from typing import Any

from tiered.cli.command import add_command

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """examples:
  tiered completion bash > ~/.local/share/bash-completion/completions/tiered
  tiered completion zsh > ~/.zfunc/_tiered            with fpath+=~/.zfunc before compinit in ~/.zshrc
  tiered completion fish > ~/.config/fish/completions/tiered.fish

Needs shtab: pip install '.[cli]' where tiered's sources are.
The script is complete in itself: nothing is started when you press TAB."""


def add_completion(commands: Any, parser: argparse.ArgumentParser) -> None:
    """Register the command; `parser` is the whole one."""
    completion = add_command(commands, "completion", "a script for the completion of bash, zsh or fish", EXAMPLES)
    completion.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    completion.set_defaults(standalone=lambda args: _completion(parser, args.shell))


def _completion(parser: argparse.ArgumentParser, shell: str) -> int:
    from tiered.extras import missing

    try:
        import shtab
    except ImportError:
        raise missing("completion needs shtab", "cli") from None
    _mark_paths(parser, {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY, "DIRECTORY": shtab.DIRECTORY})
    print(shtab.complete(parser, shell))
    return 0


def _mark_paths(parser: argparse.ArgumentParser, kinds: dict[str, Any]) -> None:
    """Arguments that are paths complete as such."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark_paths(command, kinds)
        elif isinstance(action.metavar, str) and action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]  # shtab's way to be told
