"""``twotower report``, ``evaluate`` and ``reproduce``: commands on folders of runs."""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from twotower_jax.data.drafts import scratch
from twotower_jax.data.parse_text import parse_json
from twotower_jax.errors import InputError
from twotower_jax.run.folder import held


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    folders = "folders of sweeps, reported together"
    parser.add_argument("folder", type=Path, nargs="+", help=folders)
    out = "folder of the report; the first folder by default"
    parser.add_argument("--out", type=Path, metavar="DIR", help=out)
    for name, metavar, text in (
        ("question", "TEXT", "the question that the study answers"),
        ("answer", "TEXT", "the answer, shown first"),
        ("source", "TEXT", "the source of the question"),
        ("metric", "NAME", "the primary metric: it orders the arms"),
        ("base", "ARM", "the arm that the others are compared to"),
        ("rival", "ARM", "a second arm to which the others are compared"),
        ("tuned", "TEXT", "where each arm was tuned on these data, with three seeds"),
        ("margin", "SHARE", "share of a mean up to which arms are equivalent; 0.02"),
    ):
        parser.add_argument(f"--{name}", metavar=metavar, help=text)
    text = "leave out the optimum of each arm's objective"
    parser.add_argument("--no-objective", action="store_true", help=text)


def report(options: argparse.Namespace) -> int:
    """Write the report of folders of runs."""
    from twotower_jax.study.description import TEXTS, Description, check_margin
    from twotower_jax.sweeps.reports import REPORT, write_reports

    texts = {name: getattr(options, name) for name in TEXTS}
    margin = check_margin("--margin", options.margin)
    given = Description(**texts, margin=margin)
    objective = not options.no_objective
    out = options.out or options.folder[0]
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is not a folder; give one of runs, or --out DIR")
    with held(out / REPORT, True, print):
        folders = [_tested(folder) for folder in options.folder]
        write_reports(folders, given, out, objective=objective)
    return 0


def _tested(folder: Path) -> Path:
    """Return the folder of the tested runs of an advice; another folder as it is."""
    try:
        run = parse_json((folder / "advice.json").read_text(encoding="utf-8"))["run"]
        return folder / Path(run).parent.name
    except (OSError, ValueError, LookupError, TypeError):
        return folder


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the folder of one run."""
    text = "folder of one run, such as outputs/NAME/HASH"
    parser.add_argument("folder", type=Path, help=text)


def evaluate(options: argparse.Namespace) -> int:
    """Compute and print the metrics of a finished run from its checkpoint."""
    from twotower_jax.run.folder import stored_config

    config = stored_config(options.folder)
    from twotower_jax.compiler import set_up
    from twotower_jax.report.console import print_metrics
    from twotower_jax.run.evaluate import evaluate_run

    set_up()
    metrics = evaluate_run(config, options.folder)
    print_metrics(Console(markup=False), metrics, list(list(metrics.values())[-1]))
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Run the configuration in a temporary folder and compare every metric."""
    from twotower_jax.run.folder import RunFolder, stored_config

    config, record = stored_config(options.folder), RunFolder(options.folder)
    before, manifest = record.result(), record.read("manifest")
    if manifest is None:
        raise InputError(
            f"{options.folder} has no manifest.json; restore the file, or remove its "
            "folder and run again"
        )
    from twotower_jax.compiler import set_up
    from twotower_jax.run.evaluate import differences
    from twotower_jax.run.execute import run
    from twotower_jax.run.loader import load_data

    set_up()
    console = Console(markup=False)
    data = load_data(config).fingerprint
    if data != manifest["data_fingerprint"]:
        raise InputError(
            f"the run used data {manifest['data_fingerprint']}, the same configuration "
            f"now reads {data}; restore the files of data.path"
        )
    with scratch() as place:
        again = replace(config, trackers=(), baselines=False)
        after = run(again, folder=place / "run", console=console)
    different = differences(before, after)
    for name, old, new in different:
        console.print(f"{name}: {old} before, {new} now", highlight=False)
    if not different:
        console.print("equal: every metric has the same bits", highlight=False)
    return 1 if different else 0
