"""The command line ``twotower``.

Exit status: 0 done, 1 failed run, 2 wrong input, 3 another process works on the run,
130 after Ctrl-C, 141 where the reader of the output has ended.
"""

import argparse
import os
import sys
from collections.abc import Callable

from twotower_jax import __version__
from twotower_jax.commands import (
    advise,
    audit,
    data,
    explain,
    export,
    plan,
    runs,
)
from twotower_jax.errors import (
    BusyError,
    InputError,
    NonFiniteLossError,
    file_error,
    shown,
)
from twotower_jax.signals import INTERRUPTS
from twotower_jax.sweeps.overrides import (
    add_config_dir,
    after_command,
    check_config_dir,
)

COMMANDS = ("train", "advise", "report", "audit", "evaluate", "export", "reproduce")
COMMANDS += ("plan", "data")
Command = Callable[[argparse.Namespace], int]


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit with its status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    INTERRUPTS.begin()
    try:
        status = _command(arguments)
        sys.stdout.flush()
    except (InputError, NonFiniteLossError, BusyError) as error:
        print(f"error: {shown(error)}", file=sys.stderr)
        kinds = {NonFiniteLossError: 1, BusyError: 3}
        status = next((n for kind, n in kinds.items() if isinstance(error, kind)), 2)
    except BrokenPipeError:
        # Python writes its buffer of stdout at exit: to /dev/null, not the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        print(f"error: {file_error(error)}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _command(arguments: list[str]) -> int:
    arguments = after_command(arguments)
    words = arguments[1:] if arguments[:1] == ["train"] else arguments
    if words[:1] in (["-sc"], ["--shell-completion"]):
        return explain.complete(words, COMMANDS)
    if (keys := explain.asked_keys(arguments)) and arguments[0] in explain.COMMANDS:
        return explain.explain(keys)
    if arguments[:1] == ["train"]:
        # Imported here, for it imports Hydra.
        from twotower_jax.commands.train import train

        return train(arguments[1:])
    options = _options(arguments)
    check_config_dir(options.config_dir)
    return options.function(options)


def _options(arguments: list[str]) -> argparse.Namespace:
    """Return the parsed words, with overrides before and after the options."""
    parser = _parser()
    options, others = parser.parse_known_args(arguments)
    words = getattr(options, "words", None)
    unknown = [word for word in others if words is None or word.startswith("-")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if words is not None:
        options.words = [*words, *others]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="twotower",
        description="Train and compare two-tower retrieval models that differ in their "
        "training samples.",
    )
    version = f"twotower-jax {__version__}"
    parser.add_argument("--version", action="version", version=version)
    add_config_dir(parser)
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser(
        "train",
        help="train and evaluate; overrides as key=value, -m sweeps; --help lists the "
        "keys, --help KEY explains one",
    )
    _add(commands, "advise", advise.add_advise, advise.advise, ADVISE)
    _add(commands, "report", runs.add_report, runs.report, REPORT)
    _add(commands, "audit", audit.add_audit, audit.audit, AUDIT)
    _add(commands, "plan", plan.add_plan, plan.plan, PLAN)
    _add(commands, "evaluate", runs.add_folder, runs.evaluate, EVALUATE)
    _add(commands, "export", export.add_export, export.export, EXPORT)
    _add(commands, "reproduce", runs.add_folder, runs.reproduce, REPRODUCE)
    group = commands.add_parser(
        "data", help="list sources; check, prepare or fetch data"
    )
    actions = group.add_subparsers(required=True, metavar="action")
    _add(actions, "list", lambda _: None, data.show_sources, "list the sources of logs")
    _add(actions, "check", data.add_check, data.check, CHECK)
    _add(actions, "prepare", data.add_prepare, data.prepare, PREPARE)
    _add(actions, "fetch", data.add_fetch, data.fetch, FETCH)
    return parser


ADVISE = "choose the samples to train on from a log, on validation, and test them"
REPORT = "compare the runs of a folder: report.html and tables"
AUDIT = "compute the optimum of an arm's objective, before any training"
PLAN = "print memory, work and expected speed of a training before it"
EVALUATE = "compute the metrics of a finished run from its checkpoint"
EXPORT = "write the model of a finished run as a folder of files for other programs"
REPRODUCE = "run the configuration of a finished run again and compare the metrics"
CHECK = "guess the columns of a log, validate and split it, print its condition"
PREPARE = "write a log of any size as arrays on disk, for data=prepared"
FETCH = "list the public data sets, show one, or fetch it"


def _add(
    parsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    add_options: Callable[[argparse.ArgumentParser], None],
    command: Command,
    text: str,
) -> None:
    """Add a command with its options."""
    parser = parsers.add_parser(name, help=text, description=text)
    if name in explain.COMMANDS:
        parser.epilog = f"twotower {name} --help KEY explains a key or a group of keys."
    add_options(parser)
    add_config_dir(parser)
    parser.set_defaults(function=command)
