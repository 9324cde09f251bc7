"""``twotower remesh``: an interrupted training goes on with other devices."""

import argparse
import shlex
from pathlib import Path

from twotower_jax.commands.join import without_join
from twotower_jax.run.folder import held


def add_remesh(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``remesh``."""
    text = "folder of one interrupted run, such as outputs/NAME/HASH"
    parser.add_argument("folder", type=Path, help=text)
    text = "training.mesh.data=N, training.mesh.table=N, training.devices=N"
    parser.add_argument("words", nargs="*", metavar="key=value", help=text)


def remesh(options: argparse.Namespace) -> int:
    """Make the folder of the run with the other mesh, and print what goes on."""
    from twotower_jax.run.folder import RunFolder
    from twotower_jax.run.remesh import remesh

    with held(options.folder, False, print):
        made = remesh(options.folder, options.words)
    for reason in made.damaged:
        print(f"left out: {reason}")
    print(f"{made.folder} has the state of step {made.step}; the training goes on by")
    command = (RunFolder(made.folder).read("manifest") or {}).get("command")
    print(f"  {with_words(command, made.words)}")
    print(f"{options.folder} stays as it is and is not needed for that")
    return 0


def with_words(command: str | None, words: list[str]) -> str:
    """Return the command of a run with other values of some keys.

    Examples:
      >>> with_words("twotower train seed=1 training.devices=4", ["training.devices=2"])
      'twotower train seed=1 training.devices=2'
      >>> with_words("twotower_jax.run.run", ["training.devices=2"])
      'the program of the run, with training.devices=2'
    """
    if not command or not command.startswith("twotower train"):
        return f"the program of the run, with {' '.join(words)}"
    given = {word.partition("=")[0] for word in words}
    before, _ = without_join(shlex.split(command))
    kept = [one for one in before if one.partition("=")[0] not in given]
    return shlex.join([*kept, *words])
