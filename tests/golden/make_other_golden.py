"""Makes the golden values of the ranking metrics with ranx and ir-measures.

ranx 0.3.21 computes with code of its own, ir-measures 0.4.3 with trec_eval and, for
RR@k, with the evaluator of MS MARCO; nothing of twotower_jax takes part. To make them
again, in an environment of its own:

    python -m venv golden-venv
    golden-venv/bin/pip install ranx==0.3.21 ir-measures==0.4.3
    golden-venv/bin/python tests/golden/make_other_golden.py

It reads run.csv and qrels.csv of make_golden.py, beside this one, and writes
  values_others.csv   library, query, measure, value: one row per query with positives.
"""

import csv
from pathlib import Path

HERE = Path(__file__).parent
CUTOFFS = (1, 10, 40)
# Our name of a metric, by the names of ranx and of ir-measures.
RANX = {"recall": "recall", "ndcg": "ndcg", "mrr": "mrr", "hit_rate": "hit_rate"}
IR_MEASURES = {"R": "recall", "nDCG": "ndcg", "RR": "mrr", "Success": "hit_rate"}

Table = dict[str, dict[str, float]]
Values = list[tuple[str, str, str, float]]


def read(name: str) -> list[dict[str, str]]:
    """Return the rows of a CSV file beside this program."""
    with open(HERE / name, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tables() -> tuple[Table, Table]:
    """Return the scores {query: {item: score}} and the positives {query: {item: 1}}.

    Queries without positives are in neither.
    """
    qrels: dict = {}
    for row in read("qrels.csv"):
        qrels.setdefault(row["query"], {})[row["item"]] = 1
    run: dict = {query: {} for query in qrels}
    for row in read("run.csv"):
        if row["query"] in qrels:
            run[row["query"]][row["item"]] = float(row["score"])
    return run, qrels


def by_ranx(run: Table, qrels: Table, cutoffs: tuple[int, ...] = CUTOFFS) -> Values:
    """Return (library, query, measure, value) rows by ranx."""
    # Here, so that collecting doctests needs nothing that the tests do not.
    from ranx import Qrels, Run, evaluate

    names = {f"{one}@{k}": f"{ours}@{k}" for one, ours in RANX.items() for k in cutoffs}
    judged, made = Qrels(qrels), Run(run)
    evaluate(judged, made, list(names), make_comparable=True)
    return [
        ("ranx", query, names[measure], float(value))
        for measure in names
        for query, value in made.scores[measure].items()
    ]


def by_ir_measures(
    run: Table, qrels: Table, cutoffs: tuple[int, ...] = CUTOFFS
) -> Values:
    """Return (library, query, measure, value) rows by ir-measures."""
    import ir_measures

    names = {
        ir_measures.parse_measure(f"{one}@{k}"): f"{ours}@{k}"
        for one, ours in IR_MEASURES.items()
        for k in cutoffs
    }
    return [
        ("ir-measures", one.query_id, names[one.measure], float(one.value))
        for one in ir_measures.iter_calc(list(names), qrels, run)
    ]


if __name__ == "__main__":
    data = tables()
    rows = sorted(by_ranx(*data) + by_ir_measures(*data))
    with open(HERE / "values_others.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("library", "query", "measure", "value"))
        writer.writerows(rows)
