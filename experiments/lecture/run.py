"""Run the studies of the lecture's claims, in one world or on real data.

    python experiments/lecture/run.py                        # the default world
    python experiments/lecture/run.py --world bad_ranker     # a short form in another
    python experiments/lecture/run.py --data movielens --path ml-latest-small

Each study is one command, `twotower train -m experiment=lecture/STUDY ...`, printed
before it is run; finished runs are returned, so that it can be stopped and run again.
"""

import argparse
import shlex
import subprocess
import sys

# Worlds in which a verdict might turn: overrides of data.simulator.
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
)
# The arms that decide the verdicts: what other worlds are asked.
SHORT = {
    "popularity": ["negatives.easy.alpha=0,0.75,1"],
    "logq": ["loss.logq.correct=none,all"],
    "ladder": ["arms=ladder/uniform,ladder/retrieved,ladder/pre_ranked,ladder/ranked"],
    "hard_ratio": ["negatives.hard_ratio=0,0.5,1", "negatives.hard.log_q=mixture"],
    "half_hard": ["negatives.hard_ratio=0,0.5,1", "loss=sampled_softmax"],
    "exposed": ["negatives.hard_ratio=0,0.0625,0.5"],
    "one_of_200": [
        "loss=sampled_softmax",
        "arms=one_of_200/none,one_of_200/pre_ranked,one_of_200/exposed",
    ],
    "resampling": [
        "positives=downsample_hot,upsample_cold",
        "positives.exponent=0,0.5",
    ],
    "serving": ["loss.logq.correct=all"],
}
# Studies that a data set without stages can carry, and how it is trained on. The
# numbers of epochs are those of its own study, or fewer where that takes too long.
REAL = {
    "movielens": [
        "data=movielens",
        "data.fit_valid=true",
        "training.epochs=30",
        "training.eval_every=null",
    ],
    "gowalla": [
        "data=lightgcn",
        "data.fit_valid=true",
        "optimizer=adam",
        "optimizer.learning_rate=0.006",
        "training.batch_size=2048",
        "training.epochs=10",
        "training.eval_every=null",
        "evaluation.k=[20]",
    ],
    "wikispeedia": [
        "data=wikispeedia",
        "towers.query=[current,target]",
        "training.epochs=20",
        "training.eval_every=null",
        "evaluation.k=[20]",
    ],
}
NO_TRUTH = [
    "towers.candidate=[id]",
    "evaluation.uniform_exposures=0",
    "hydra.callbacks.study.metric=recall@20",
]
CARRIES = {
    "movielens": ("popularity", "logq", "resampling", "serving"),
    "gowalla": ("popularity", "logq", "resampling", "serving"),
    "wikispeedia": ("exposed",),
}
# Twenty minutes of Gowalla: the arms that decide.
LARGE = {"gowalla", "wikispeedia"}


def main() -> None:
    """Run the chosen studies one after the other."""
    options = _options()
    chosen = options.studies or CARRIES.get(options.data, STUDIES)
    failed = 0
    for study in chosen:
        command = [
            *(sys.executable, "-m", "twotower_jax", "train", "-m"),
            *words(study, options.world, options.data, options.path),
            *options.overrides,
        ]
        print(shlex.join(command), flush=True)
        failed += subprocess.run(command, check=False).returncode != 0
    sys.exit(failed)


def words(study: str, world: str | None, data: str | None, path: str | None):
    """Return the overrides of a study."""
    if world:
        numbers = [f"data.simulator.{word}" for word in WORLDS[world]]
        name = f"name=lecture/{study}/{world}"
        return [
            *(f"experiment=lecture/{study}", name, "seed=0,1,2"),
            *numbers,
            *SHORT[study],
        ]
    if data:
        short = SHORT[study] if data in LARGE else []
        return [
            *(f"experiment=lecture/{study}", f"name=lecture/{study}/{data}"),
            *(f"data.path={path}", *NO_TRUTH, *REAL[data], *short),
        ]
    return [f"experiment=lecture/{study}"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the studies of the claims.")
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--world", choices=WORLDS)
    parser.add_argument("--data", choices=REAL)
    parser.add_argument("--path", help="of the data")
    parser.add_argument("--overrides", nargs="*", default=[], metavar="key=value")
    options = parser.parse_args()
    for study in options.studies:
        if study not in STUDIES:
            parser.error(f"{study} is no study; give some of {', '.join(STUDIES)}")
    if options.data and not options.path:
        parser.error(f"--data {options.data} needs --path")
    return options


if __name__ == "__main__":
    main()
