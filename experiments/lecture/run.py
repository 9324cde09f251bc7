"""Run the studies of the lecture's claims, in one world or on real data.

    python experiments/lecture/run.py                        # the default world
    python experiments/lecture/run.py --world bad_ranker     # its choices in another
    python experiments/lecture/run.py --world bad_ranker --tune   # tuned anew there
    python experiments/lecture/run.py --data movielens --path ml-latest-small

Each study is one command, `twotower train -m experiment=lecture/STUDY ...`, which is
printed before it runs. Finished runs are kept, so the script can be stopped and started
again.
"""

import argparse
import shlex
import subprocess
import sys

# Worlds in which a verdict may differ: overrides of data.simulator.
WORLDS = {
    "weak_position": ["position_bias=0.2"],
    "strong_position": ["position_bias=1.0"],
    "weak_popularity": ["zipf_exponent=0.5"],
    "strong_popularity": ["zipf_exponent=1.5"],
    "good_ranker": ["pre_ranking_noise=0.5", "ranking_noise=0.25"],
    "bad_ranker": ["pre_ranking_noise=3.0", "ranking_noise=1.5"],
}
STUDIES = ("tuned", "forms")
# Response curves and single claims; not tuned.
CURVES = (
    "popularity",
    "logq",
    "ladder",
    "hard_ratio",
    "half_hard",
    "exposed",
    "one_of_200",
    "resampling",
    "serving",
)
# Arms that need neither exposures nor stages.
POSITIVES_ONLY = (
    "arms=in_batch,in_batch_logq,served_with_log_q,plain/uniform,plain/alpha_75,"
    "plain/alpha_1,downsample_hot,upsample_cold"
)
EXPOSED = "arms=in_batch_logq,uniform_per_row,exposed_sixteenth,exposed_as_negatives"
# Real data: arms and keys. Each arm is tuned there.
REAL = {
    "movielens": [POSITIVES_ONLY, "data=movielens"],
    "gowalla": [POSITIVES_ONLY, "data=lightgcn", "seed=0,1,2"],
    "wikispeedia": [EXPOSED, "data=wikispeedia", "towers.query=[current,target]"],
}
NO_TRUTH = [
    "towers.candidate=[id]",
    "evaluation.k=[20]",
    "evaluation.auc=[]",
    "evaluation.uniform_exposures=0",
    "hydra.callbacks.study.metric=recall@20",
]
CHOICES = "outputs/lecture/default"  # of the arms, in the default world


def main() -> None:
    """Run the named studies one after the other."""
    options = _options()
    failed = 0
    for words in studies(options):
        command = [
            *(sys.executable, "-m", "twotower_jax", "train", "-m", *words),
            *options.overrides,
        ]
        print(shlex.join(command), flush=True)
        failed += subprocess.run(command, check=False).returncode != 0
    sys.exit(failed)


def studies(options: argparse.Namespace) -> list[list[str]]:
    """Overrides of each study.

    Args:
      options: of the command line.

    Returns:
      Overrides as on the command line, a list per study.
    """
    if options.world:
        return [world_words(options.world, options.tune)]
    if options.data:
        return [data_words(options.data, options.path)]
    return [[f"experiment=lecture/{study}"] for study in options.studies or STUDIES]


def world_words(world: str, tune: bool) -> list[str]:
    """Overrides of the study in another world, with three seeds.

    Args:
      world: its name.
      tune: tune each arm there, in place of the choices of the default world.

    Returns:
      Overrides as on the command line.
    """
    numbers = [f"data.simulator.{word}" for word in WORLDS[world]]
    common = ["experiment=lecture/tuned", "seed=0,1,2", *numbers]
    if tune:
        return [*common, f"name=lecture/{world}_tuned"]
    return [*common, f"name=lecture/{world}", f"hydra.sweeper.selection={CHOICES}"]


def data_words(data: str, path: str) -> list[str]:
    """Overrides of the study of a public log, on which each arm is tuned.

    Args:
      data: its name.
      path: its folder.

    Returns:
      Overrides as on the command line.
    """
    common = ["experiment=lecture/tuned", f"name=lecture/{data}", f"data.path={path}"]
    return [*common, *NO_TRUTH, *REAL[data]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the studies of the claims.")
    every = [*STUDIES, *CURVES]
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(every))
    parser.add_argument("--world", choices=WORLDS)
    parser.add_argument(
        "--tune", action="store_true", help="tune the arms in the world"
    )
    parser.add_argument("--data", choices=REAL)
    parser.add_argument("--path", help="folder of the data")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="key=value")
    options = parser.parse_args()
    for study in options.studies:
        if study not in every:
            parser.error(f"{study} is not a study; choose from {', '.join(every)}")
    if options.studies and (options.world or options.data):
        parser.error("--world and --data have one study of their own: name none")
    if options.data and not options.path:
        parser.error(f"--data {options.data} needs --path")
    if options.tune and not options.world:
        parser.error("--tune needs --world: the other studies tune by themselves")
    return options


if __name__ == "__main__":
    main()
