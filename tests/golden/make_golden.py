"""Makes the golden values of the ranking metrics with trec_eval's own C code.

The values come from pytrec_eval-terrier 0.5.11, which compiles trec_eval; nothing of
twotower_jax takes part. To make them again, in an environment of its own:

    python -m venv golden-venv
    golden-venv/bin/pip install pytrec_eval-terrier==0.5.11
    golden-venv/bin/python tests/golden/make_golden.py

Files, beside this one:
  run.csv     query, item, score: 60 queries x 40 items. Scores within a query are
              distinct, since trec_eval orders ties by descending document name.
  qrels.csv   query, item: the positives. Some queries have more positives than the
              largest cutoff, some have none in the list, and some have none at all.
  values.csv  query, measure, value: what trec_eval says.
"""

import csv
import random
from pathlib import Path

HERE = Path(__file__).parent
CUTOFFS = "1,5,10,20,40"
MEASURES = {
    f"{name}.{CUTOFFS}" for name in ("recall", "ndcg_cut", "success", "map_cut")
}
QUERIES, LISTED, CATALOGUE = 60, 40, 200


def draw() -> tuple[dict, dict]:
    """Return the scores {query: {item: score}} and the positives {query: {item: 1}}."""
    rng = random.Random(20)
    run, qrels = {}, {}
    for query in range(QUERIES):
        items = rng.sample(range(CATALOGUE), LISTED)
        scores = rng.sample(range(10_000), LISTED)
        run[str(query)] = {str(i): s / 1000 for i, s in zip(items, scores, strict=True)}
        listed = rng.sample(items, rng.choice([0, 1, 2, 5, 12, 30]))
        others = [i for i in range(CATALOGUE) if i not in items]
        missed = rng.sample(others, rng.choice([0, 1, 4, 30]))
        qrels[str(query)] = {str(i): 1 for i in sorted(listed + missed)}
    return run, qrels


def evaluate(run: dict, qrels: dict) -> list[tuple[str, str, float]]:
    """Return (query, measure, value) rows; a query without positives has none.

    recip_rank takes no cutoff: it is asked again with the list cut at each.
    """
    # Here, so that collecting doctests needs nothing that the tests do not.
    import pytrec_eval

    judged = {query: items for query, items in qrels.items() if items}
    found = pytrec_eval.RelevanceEvaluator(judged, MEASURES).evaluate(run)
    for cutoff in CUTOFFS.split(","):
        cut = {}
        for query, scores in run.items():
            best = sorted(scores, key=lambda item: -scores[item])[: int(cutoff)]
            cut[query] = {item: scores[item] for item in best}
        again = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(cut)
        for query, values in again.items():
            found[query][f"recip_rank_{cutoff}"] = values["recip_rank"]
    return [
        (query, measure, value)
        for query, values in sorted(found.items(), key=lambda pair: int(pair[0]))
        for measure, value in sorted(values.items())
    ]


def write(name: str, header: tuple[str, ...], rows: list[tuple]) -> None:
    """Write one CSV file beside this program."""
    with open(HERE / name, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    run, qrels = draw()
    scores = [(q, i, s) for q, items in run.items() for i, s in items.items()]
    positives = [(q, i) for q, items in qrels.items() for i in items]
    write("run.csv", ("query", "item", "score"), scores)
    write("qrels.csv", ("query", "item"), positives)
    write("values.csv", ("query", "measure", "value"), evaluate(run, qrels))
