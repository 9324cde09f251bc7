"""The published retrieval experiment of RecFlow, on generated files of its format."""

from collections import defaultdict

import jax.numpy as jnp
import numpy as np
import pytest
from helpers import tiny
from helpers.kuaishou import STAGES, recflow_day, write_recflow

from twotower_jax.run.loader import load_data
from twotower_jax.run.positives import trained_part
from twotower_jax.run.problem import make_problem
from twotower_jax.sweeps.compose import compose_config
from twotower_jax.training.sources import draw

EXPERIMENT = "experiment=papers/recflow_published"
BATCH = 64
SHORT = (f"training.batch_size={BATCH}", "evaluation.k=[20,100]")
DAYS = [f"2024-01-{day}" for day in range(13, 18)]
SIZES = {"requests": 60, "users": 20, "videos": 200}
NEGATIVES = 200
# Flags of the videos that an arm draws from the request, and how many it draws.
ARMS = {
    "one_of_200/none": ((), 0),
    "one_of_200/retrieved": (("prerank_neg",), 1),
    "one_of_200/pre_ranked": (("coarse_neg", "rank_neg"), 1),
    "papers/recflow/rank_neg": (("rank_neg",), 1),
    "one_of_200/ranked": (("rank_pos", "rerank_neg"), 1),
    "papers/recflow/rerank_neg": (("rerank_neg",), 1),
    "one_of_200/re_ranked": (("rerank_pos",), 1),
    "one_of_200/exposed": (("realshow",), 1),
    "papers/recflow/fs_ltr_one": (("prerank_neg",), 1),
    "papers/recflow/fs_ltr": (("prerank_neg", "coarse_neg", "rank_neg", "realshow"), 3),
}
PAIRS = ("papers/recflow/fs_ltr_one", "papers/recflow/fs_ltr")
RUN = ("one_of_200/none", "one_of_200/exposed", PAIRS[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recflow(tmp_path_factory.mktemp("recflow"), days=DAYS, **SIZES)


@pytest.fixture(scope="module")
def videos():
    """The videos of each request by their furthest flag; those of clicks are apart."""
    of = defaultdict(set)
    for day in range(len(DAYS)):
        for row in recflow_day(day, **SIZES).iter_rows(named=True):
            flag = next(name for name in STAGES if row[name])
            if flag == "realshow" and row["effective_view"]:
                flag = "clicked"
            of[row["request_id"], flag].add(row["video_id"])
    return of


def configured(folder, arm):
    return compose_config([EXPERIMENT, f"arms={arm}", f"data.path={folder}", *SHORT])


def first_draws(config):
    """Return requests and slots of the last batch of the log, drawn at the start."""
    data = load_data(config)
    problem = make_problem(config, data)
    request = trained_part(config, data).split.train.request
    rows = np.arange(len(request))[-BATCH:]
    batch = problem.data.batch(jnp.asarray(rows))
    slots = draw(problem.program, problem.data, problem.start(), batch).slots
    ids = data.log.item_ids.to_numpy()
    return request[rows], ids[np.asarray(slots.items)], np.asarray(slots.is_hard)


@pytest.mark.slow
@pytest.mark.parametrize("arm", ARMS)
def test_slots_come_from_the_stages_of_the_request(folder, videos, arm):
    flags, number = ARMS[arm]
    request, drawn, is_hard = first_draws(configured(folder, arm))
    assert drawn.shape == (BATCH, NEGATIVES)
    # Others are uniform, also in rows whose request has no video of the stages.
    assert not is_hard[:, : NEGATIVES - number].any()
    found = is_hard.any(axis=1)
    for row in np.flatnonzero(found):
        pool = set().union(*(videos[int(request[row]), flag] for flag in flags))
        assert set(drawn[row][is_hard[row]].tolist()) <= pool
    seen = {
        flag
        for row in np.flatnonzero(found)
        for flag in flags
        if videos[int(request[row]), flag] & set(drawn[row][is_hard[row]].tolist())
    }
    assert seen == set(flags)
    if number:
        assert found.mean() > 0.5


def test_the_settings_are_those_of_the_published_code(folder):
    config = configured(folder, "one_of_200/none")
    towers, training = config.towers, config.training
    assert (towers.dim, towers.history_length, towers.normalize) == (8, 50, False)
    own = {"layers": 1, "heads": 1, "dropout": 0, "longer": "newest"}
    assert vars(towers.sequence) == own
    assert (training.epochs, training.steps, training.order) == (1, None, "time")
    assert (config.optimizer.name, config.optimizer.learning_rate) == (
        "adam_dense",
        0.1,
    )
    assert (config.loss.name, config.loss.temperature) == ("logistic", 1)
    assert config.data.fit_valid and not config.data.mask_seen
    whole = compose_config([EXPERIMENT, f"data.path={folder}"])
    assert whole.training.batch_size == 4096


@pytest.mark.parametrize("arm", PAIRS)
def test_all_pairs_of_fs_ltr_weigh_alike(folder, arm):
    config = configured(folder, arm)
    hard = config.negatives.hard.num
    easy = NEGATIVES - hard
    assert config.negatives.easy.num == easy
    # One slot of each stage: pairs of two of them, and of each with the uniform ones.
    pairs = hard * (hard - 1) // 2 + hard * easy
    assert config.loss.stage_pairs.weight == pytest.approx(pairs / NEGATIVES)


@pytest.mark.slow
def test_arms_train_and_differ(folder, tmp_path):
    words = (
        *(EXPERIMENT, f"data.path={folder}", f"output={tmp_path}", *SHORT),
        *(f"arms={','.join(RUN)}", "seed=0", "training.eval_every=2"),
        "hydra/launcher=fused",
    )
    assert tiny.command("train", "-m", *words) == 0
    recall, losses = set(), {}
    for path in (tmp_path / "recflow_published").glob("*/result.json"):
        result = tiny.read_json(path)
        config = (path.parent / "config.yaml").read_text()
        arm = next(a for a in config.splitlines() if a.startswith("arm: "))[5:]
        hard = result["samples"]["hard negatives"]
        if arm == "uniform only":
            assert not hard
        else:
            assert 0 < hard["pools"] <= hard["items in pools"]
            trained = result["samples"]["positives"]["samples before"]
            assert 0 <= hard["training positives without a pool"] < trained / 2
        values = result["metrics"]["test"]
        for name in ("recall@20", "recall@100", "ndcg@100", "coverage@100"):
            assert 0 <= values[name] <= 1
        assert values["recall@20"] < values["recall@100"]
        recall.add(values["recall@100"])
        lines = tiny.read_lines(path.parent / "metrics.jsonl")
        losses[arm] = [one["loss"] for one in lines]
    assert len(losses) == len(recall) == len(RUN)
    for arm, values in losses.items():
        assert values[-1] < values[0]
        # Beside the 200 pairs of the positive the pairs of stages have a loss.
        more = values[0] - losses["uniform only"][0]
        assert more > 1 if arm.endswith("pairs") else abs(more) < 0.3
