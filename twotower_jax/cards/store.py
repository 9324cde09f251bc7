"""Cards that were computed before, in one JSON file per folder.

A card depends on the samples and the loss of an arm alone, so that arms which differ in
their data, towers, learning rate or seed share one.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twotower_jax.cards.card import Card, audit_arm, from_json, to_json
from twotower_jax.config import Config, to_dict
from twotower_jax.data.drafts import draft_of
from twotower_jax.data.parse_text import parse_json
from twotower_jax.data.text_files import read_text, sealed, unsealed
from twotower_jax.errors import InputError

FILE = "objective.json"
# Raised where equal configurations get other cards.
VERSION = 2
# Cards that one report computes, at most.
MOST = 24


def objective_values(config: Config) -> dict[str, Any]:
    """The part of a configuration that decides its card."""
    values = to_dict(config)
    training = {"batch_size": values["training"]["batch_size"]}
    kept = {name: values[name] for name in ("positives", "negatives", "loss")}
    return kept | {"training": training, "kind": values["towers"]["kind"]}


def card_key(config: Config) -> str:
    """The hash of the part of a configuration that decides its card."""
    text = json.dumps([VERSION, objective_values(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def find_cards(
    configs: Mapping[str, Config], folder: Path, most: int = MOST
) -> dict[str, Card | str]:
    """The cards of arms; those that the folder does not have yet are added to it."""
    stored = _read(folder / FILE)
    before, cards = len(stored), {}
    for name, config in configs.items():
        key = card_key(config)
        if key not in stored and len(stored) - before >= most:
            cards[name] = f"not computed, for {most} others were; see twotower audit"
            continue
        try:
            cards[name] = stored[key] if key in stored else audit_arm(config)
        except InputError as error:
            cards[name] = str(error)
            continue
        if key not in stored:
            stored[key] = cards[name]
            _write(folder, stored)
    return cards


def _read(path: Path) -> dict[str, Card]:
    """The cards of a file by key; none where it is missing or was changed."""
    try:
        values = unsealed(parse_json(read_text(path)))
        return {key: from_json(card) for key, card in values.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write(folder: Path, cards: Mapping[str, Card]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = {key: to_json(card) for key, card in sorted(cards.items())}
    text = json.dumps(sealed(values), indent=1) + "\n"
    with draft_of(folder / FILE) as draft:
        draft.write_text(text, encoding="utf-8")
