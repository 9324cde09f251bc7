"""Logs of visits without a column that is named as the users."""

from twotower_jax.data.guess.log import guess_log


def guess(tmp_path, cook):
    path = tmp_path / "visits.csv"
    lines = [
        f"{cook(i // 4)},{i // 4},{i % 37},{1_500_000_000 + i}" for i in range(800)
    ]
    path.write_text("cook,session,recipe,when\n" + "\n".join(lines) + "\n")
    return guess_log(path, {}, {})


def test_a_column_of_one_value_in_each_visit_is_offered_as_the_users(tmp_path):
    made = guess(tmp_path, lambda visit: f"c{visit % 50}")
    assert made.columns["user"].name == "session"
    (note,) = made.notes
    assert "data.columns.user=cook data.columns.request=session" in note


def test_columns_of_few_values_or_of_one_per_visit_are_not(tmp_path):
    assert guess(tmp_path, lambda visit: f"c{visit % 5}").notes == []
    assert guess(tmp_path, lambda visit: f"c{visit}").notes == []
