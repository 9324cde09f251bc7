"""Run the studies of the lecture's claims, in one world or on real data.

    python experiments/lecture/run.py                        # the default world
    python experiments/lecture/run.py --world bad_ranker     # a short form in another
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
STUDIES = (
    "popularity",
    "logq",
    "ladder",
    "hard_ratio",
    "half_hard",
    "exposed",
    "one_of_200",
    "resampling",
    "serving",
    "tuned",
)
# The arms of the short form that need neither exposures nor stages.
POSITIVES_ONLY = (
    "arms=in_batch,in_batch_logq,served_with_log_q,plain/uniform,plain/alpha_75,"
    "plain/alpha_1,downsample_hot,upsample_cold"
)
# Real data: the study and its training. MovieLens has 30 epochs as in its own study,
# Gowalla 4 (100 take too long), Wikispeedia 20.
REAL = {
    "movielens": [
        *("experiment=lecture/short", POSITIVES_ONLY, "data=movielens"),
        *("data.fit_valid=true", "training.steps=1131"),
        "optimizer.learning_rate=0.05",
    ],
    "gowalla": [
        *("experiment=lecture/short", POSITIVES_ONLY, "data=lightgcn"),
        *("data.fit_valid=true", "optimizer=adam", "optimizer.learning_rate=0.006"),
        *("training.batch_size=2048", "training.steps=1582"),
    ],
    "wikispeedia": [
        *("experiment=lecture/exposed", "negatives.hard_ratio=0,0.0625,0.5,1"),
        *("data=wikispeedia", "towers.query=[current,target]", "training.epochs=20"),
        "optimizer.learning_rate=0.05",
    ],
}
NO_TRUTH = [
    "seed=0,1,2,3,4",
    "towers.candidate=[id]",
    "training.eval_every=null",
    "evaluation.k=[20]",
    "evaluation.auc=[]",
    "evaluation.uniform_exposures=0",
    "hydra.callbacks.study.metric=recall@20",
]


def main() -> None:
    """Run the named studies one after the other."""
    options = _options()
    alone = options.world or options.data
    failed = 0
    for study in options.studies or ([None] if alone else STUDIES):
        command = [
            *(sys.executable, "-m", "twotower_jax", "train", "-m"),
            "hydra/launcher=fused",
            *words(study, options.world, options.data, options.path),
            *options.overrides,
        ]
        print(shlex.join(command), flush=True)
        failed += subprocess.run(command, check=False).returncode != 0
    sys.exit(failed)


def words(
    study: str | None, world: str | None, data: str | None, path: str | None
) -> list[str]:
    """Overrides of a study, or of the short form in another world or on real data.

    Args:
      study: the name of a study.
      world: the name of a world, or None.
      data: the name of a data set, or None.
      path: the folder of the data set.

    Returns:
      Overrides as on the command line.
    """
    if world:
        numbers = [f"data.simulator.{word}" for word in WORLDS[world]]
        return ["experiment=lecture/short", f"name=lecture/short/{world}", *numbers]
    if data:
        name = REAL[data][0].removeprefix("experiment=")
        return [*REAL[data], f"name={name}/{data}", f"data.path={path}", *NO_TRUTH]
    return [f"experiment=lecture/{study}"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the studies of the claims.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--world", choices=WORLDS)
    parser.add_argument("--data", choices=REAL)
    parser.add_argument("--path", help="folder of the data")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="key=value")
    options = parser.parse_args()
    for study in options.studies:
        if study not in STUDIES:
            parser.error(f"{study} is not a study; choose from {', '.join(STUDIES)}")
    if options.studies and (options.world or options.data):
        parser.error("--world and --data have one study of their own: name none")
    if options.data and not options.path:
        parser.error(f"--data {options.data} needs --path")
    return options


if __name__ == "__main__":
    main()
