"""A server on this machine, and a function that fetches from it."""

import io

import pytest
from helpers.downloads import Server
from rich.console import Console

from twotower_jax.data.public import fetch
from twotower_jax.data.public.catalogue import DataSet, Part
from twotower_jax.registry import Registry


@pytest.fixture
def server():
    one = Server()
    yield one
    one.close()


@pytest.fixture
def get(server, tmp_path):
    """Return a function that fetches files of the server as the data set 'tiny'."""

    def call(
        files,
        *,
        limit=10_000,
        sums=None,
        size=None,
        yes=True,
        pinned=(),
        addresses=(),
        console=None,
    ):
        server.files |= files
        parts = tuple(
            Part(name, f"{server.address}/{name}", limit, size, (sums or {}).get(name))
            for name in files
        )
        entry = DataSet("small", "movielens", "https://page", "some terms", parts)
        out = io.StringIO()
        fetch.fetch_command(
            "tiny",
            tmp_path / "out",
            console or Console(file=out, width=200),
            yes=yes,
            replaced=fetch.Replaced(addresses, pinned),
            catalogue=Registry("data set", {"tiny": entry}),
        )
        return out.getvalue()

    return call
