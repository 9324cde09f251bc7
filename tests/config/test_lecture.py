"""The claims of the lecture: each check is between two arms of the short form."""

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from hydra import compose, initialize_config_module

from twotower_jax.config import to_dict
from twotower_jax.sweeps.compose import CONF, compose_config

LECTURE = Path(__file__).parents[2] / "experiments" / "lecture"


@pytest.fixture(scope="module")
def lecture():
    """Return the modules of the folder, which is not a package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(LECTURE))
        import checks
        import matrix
        import tables
        import verdicts

        modules = {"checks": checks, "matrix": matrix, "tables": tables}
        yield SimpleNamespace(verdicts=verdicts, **modules)


@pytest.fixture(scope="module")
def short():
    """Return the configuration of each arm of the short form by its name."""
    with initialize_config_module(CONF, version_base="1.3"):
        words = ["experiment=lecture/short"]
        hydra = compose("config", overrides=words, return_hydra_config=True).hydra
    arms = str(hydra.sweeper.params.arms).split(",")
    return {arm: to_dict(compose_config([*words, f"arms={arm}"])) for arm in arms}


@pytest.mark.slow
def test_each_check_is_between_two_arms_of_the_short_form(lecture, short):
    used = {"full_softmax", "uniform", "popularity_negatives"}  # of the quickstart
    for check in lecture.checks.CHECKS:
        if "slots:" in check.statement:
            continue  # of the study lecture/forms
        sides = [
            [
                arm
                for arm, config in short.items()
                if lecture.verdicts.matches(SimpleNamespace(config=config), keys)
            ]
            for keys in (check.arm, check.base)
        ]
        assert [len(side) for side in sides] == [1, 1], (check.statement, sides)
        # Only L4 compares one arm on the measures of others.
        assert sides[0] != sides[1], check.statement
        used |= {*sides[0], *sides[1]}
    assert used == set(short)


def row(claim, statement, place, difference, order=0.0):
    keys = dict.fromkeys(("mean", "base_mean", "low", "high", "p_holm"), order)
    return {
        "claim": claim,
        "statement": statement,
        "place": place,
        "difference": difference,
        **keys,
    }


def test_a_claim_is_answered_anew_as_a_whole_or_not_at_all(lecture):
    merge, checks = lecture.verdicts.merge, lecture.checks.CHECKS
    first, second, *_ = (check.statement for check in checks if check.claim == "L3")
    (other,) = (check.statement for check in checks if check.claim == "L8")
    earlier = pl.DataFrame(
        [
            row("L3", first, "default", 1.0),
            row("L3", second, "default", 2.0),
            row("L3", first, "gowalla", 3.0),
            row("L8", other, "default", 4.0),
            row("L8", "asked no more", "default", 5.0),
        ]
    )

    def merged(*rows):
        table = merge(earlier, pl.DataFrame(rows))
        return dict(
            zip(
                table.select("statement", "place").iter_rows(),
                table["difference"],
                strict=True,
            )
        )

    before = {
        (first, "default"): 1.0,
        (second, "default"): 2.0,
        (first, "gowalla"): 3.0,
        (other, "default"): 4.0,
    }
    assert merged(row("L3", first, "default", 9.0)) == before
    whole = merged(row("L3", first, "default", 9.0), row("L3", second, "default", 8.0))
    changed = {(first, "default"): 9.0, (second, "default"): 8.0}
    assert whole == before | changed
    assert merged(row("L8", other, "default", 7.0)) == before | {
        (other, "default"): 7.0
    }


# --- the matrix -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdicts", "text"),
    [
        ([], "-"),
        (["holds", "holds"], "holds"),
        (["holds"], "holds *"),
        (["holds", "cannot tell"], "cannot tell"),
        (["cannot tell", "reversed"], "does not hold"),
        (["holds", "equivalent"], "does not hold"),
    ],
)
def test_cell_sums_up_the_checks_of_a_row(lecture, verdicts, text):
    assert lecture.matrix.cell(verdicts, 2) == text


def test_both_pages_show_the_matrix_of_the_csv_files(lecture):
    verdicts, concentration = (
        pl.read_csv(LECTURE / name) for name in ("verdicts.csv", "concentration.csv")
    )
    text = lecture.matrix.matrix(verdicts, concentration)
    heads = [line for line in text.splitlines() if line.startswith("| claim |")]
    assert len(heads) == 2 and all(
        f"**{claim}**" in text for claim in lecture.checks.CLAIMS
    )
    for page in lecture.tables.PAGES:
        shown = page.read_text(encoding="utf-8")
        assert f"<!-- matrix -->\n{text}\n<!-- /matrix -->" in shown
        # The matrix stands before every interval.
        assert shown.index("<!-- matrix -->") < shown.index("<!-- L1 -->")
