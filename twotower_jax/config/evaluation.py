"""Section ``evaluation``: metrics over the whole catalogue."""

from twotower_jax.errors import InputError
from twotower_jax.negatives.funnel import STAGES
from twotower_jax.registry import key, keys_of


@keys_of("evaluation")
class EvaluationConfig:
    """Exact evaluation over the whole catalogue."""

    k: tuple[int, ...] = key(
        (10, 20, 50, 100),
        low=1,
        decides=False,  # metrics do not change each other
        doc="cutoffs of the metrics, in items of the list; training.metric "
        "needs its own",
        example="[20,100]",
    )
    test: bool = key(
        True, decides=False, doc="evaluate the test part; false: only the valid part"
    )
    save_topk: bool = key(
        False,
        decides=False,
        doc="write the recommended items of each test query to topk.parquet, and for "
        "trec_eval to topk.trec with qrels.trec",
    )
    truth: bool = key(
        True,
        decides=False,
        doc="compare to the truth as well, where the source has it (simulator)",
    )
    uniform_exposures: int = key(
        0,
        low=0,
        decides=False,
        doc="items shown to each user at random for uniform_recall@k, with the truth; "
        "0: none",
        example="100",
    )
    auc: tuple[str, ...] = key(
        (),
        choices=("uniform", *STAGES),
        decides=False,
        doc="rivals of the positives for auc@NAME, which the user did not "
        "click: items of the whole catalogue, or of a stage in the same "
        "requests; []: none",
        example="[uniform,ranked]",
    )
    ips_power: float = key(
        0.5,
        low=0,
        high=4,
        doc="ips_recall@k: power of an item's training clicks in its propensity; 0: "
        "equal weights, as recall@k",
        example="1",
    )
    ips_clip: float = key(
        10.0,
        low=1,
        decides=lambda values: values["evaluation.ips_power"] > 0,
        doc="ips_recall@k: largest weight of a positive, in units of the mean weight",
        example="100",
    )
    subtract_log_q: bool = key(
        False,
        doc="rank by the corrected logit instead of the plain score, which is wrong "
        "and here to show it",
    )

    def __post_init__(self) -> None:
        if not self.k or len(set(self.k)) < len(self.k):
            raise InputError(
                f"evaluation.k={list(self.k)} must name cutoffs, each once"
            )
