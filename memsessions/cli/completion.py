"""`completion`: what a shell needs to complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .frame import COMPLETE, PROGRAM, Frame, command, group


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(frame: Frame, shell: str) -> None:
    """Print what makes a shell complete this command.

    It completes the apps of the store, too.

    \b
    bash:  eval "$(memsessions completion bash)"            in ~/.bashrc
    zsh:   eval "$(memsessions completion zsh)"             in ~/.zshrc
    fish:  memsessions completion fish | source             in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101  click has these three
    source = kind(group(), {}, PROGRAM, COMPLETE).source()
    frame.out.answer({"shell": shell, "source": source})
    if not frame.out.as_json:
        frame.out.write(source)
