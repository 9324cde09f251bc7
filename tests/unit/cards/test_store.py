"""The file of cards of the objectives of arms."""

from typing import Any

from twotower_jax.cards import store


def test_the_order_of_the_cards_does_not_change_the_file(tmp_path, monkeypatch):
    """Arms come in another order from one report to the next."""
    monkeypatch.setattr(store, "to_json", lambda card: {"name": card})
    cards: Any
    for number, cards in enumerate(({"b": "1", "a": "2"}, {"a": "2", "b": "1"})):
        store._write(tmp_path / f"{number}", cards)
    first, second = (tmp_path / f"{number}" / store.FILE for number in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert first.read_text().index('"a"') < first.read_text().index('"b"')
