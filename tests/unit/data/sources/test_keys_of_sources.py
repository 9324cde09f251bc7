"""Keys of section `data` that only some sources read are refused elsewhere."""

import pytest

from twotower_jax.cli import main
from twotower_jax.data.config import ColumnsConfig, DataConfig
from twotower_jax.data.sources import READ_BY, SOURCES, check_read, load
from twotower_jax.errors import InputError

VALUES = {
    "path": "clicks.csv",
    "valid_path": "valid.csv",
    "test_path": "test.csv",
    "users_path": "users.csv",
    "items_path": "items.csv",
    "separator": "tab",
    "header": False,
    "list_separator": "tab",
    "time_format": "%d/%m/%Y",
    "clicked_values": ("buy",),
    "users_id": "account",
    "items_id": "sku",
    "query_features": {"age": "numeric"},
    "candidate_features": {"shop": "categorical"},
    "min_rating": 4.0,
    "history_clicks": False,
}
COLUMNS = ("user", "item", "time", "clicked", "rating", "stage", "request", "rank")


def section(key, source):
    """The section with one key of it set."""
    if (column := key.removeprefix("columns.")) != key:
        columns = ColumnsConfig(**{column: "account"})
        return DataConfig(source=source, columns=columns)
    return DataConfig(source=source, **{key: VALUES[key]})


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("key", [*VALUES, *(f"columns.{one}" for one in COLUMNS)])
def test_a_key_is_read_or_refused(key, source):
    config = section(key, source)
    if source == "prepared" or source in READ_BY[key]:
        check_read(config)
        return
    message = rf"^data\.{key}=.* is not read by data\.source={source}; leave it out"
    with pytest.raises(InputError, match=message) as error:
        load(config)
    readers = str(error.value).split("data=NAME: ")[1].split(", ")
    assert readers and all(SOURCES[name].reads_files for name in readers)


@pytest.mark.parametrize("words", [("data", "check"), ("train",), ("advise",)])
def test_a_file_without_its_source_is_not_answered_by_the_simulator(
    words, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clicks.csv").write_text("user,item\na,x\nb,y\n")
    with pytest.raises(SystemExit) as end:
        main([*words, "data.path=clicks.csv"])
    message = capsys.readouterr().err
    assert end.value.code == 2
    assert "data.path=clicks.csv is not read by data.source=simulator" in message
    assert "by data=NAME: table, " in message
    files = [one.name for one in tmp_path.rglob("*") if one.is_file()]
    assert files == ["clicks.csv"]
