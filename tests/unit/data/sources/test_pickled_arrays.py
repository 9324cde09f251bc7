"""Pickles of arrays are decoded; hostile ones are refused before anything runs."""

import collections
import copyreg
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from twotower_jax.data.sources.pickled_arrays import read_pickled_arrays
from twotower_jax.errors import InputError

PROTOCOLS = (2, 3, 4, 5)
ARRAY = np.arange(12, dtype=np.int64).reshape(3, 4)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "2024-01-13.pkl"
    path.write_bytes(content)
    return path


def equal(found, told) -> bool:
    """Say whether two values are the same, arrays by type and content."""
    if isinstance(told, np.ndarray):
        same = isinstance(found, np.ndarray) and found.dtype == told.dtype
        return same and np.array_equal(found, told)
    if isinstance(told, dict):
        return found.keys() == told.keys() and all(
            equal(found[key], value) for key, value in told.items()
        )
    if isinstance(told, list | tuple):
        pairs = zip(found, told, strict=True)
        return type(found) is type(told) and all(equal(*pair) for pair in pairs)
    return type(found) is type(told) and found == told


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        {1: {"rank_neg": ARRAY, "realshow": ARRAY[:0]}, 2: {}},
        [ARRAY, ARRAY, (ARRAY, [ARRAY])],
        np.asfortranarray(ARRAY),
        ARRAY[:, ::2],
        ARRAY.astype(">i4"),
        np.zeros((2, 3), bool),
        np.float16([1, 2]),
        np.array(7, np.uint8),
        np.empty((0, 8), np.int64),
        [1, -3, 300, 2**40, 2**70, -(2**70), 2.5, None, True, False, "x", "é", b"\xff"],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, "y" * 300, b"z" * 300],
        {i: [i] for i in range(2500)},
    ],
    ids=str,
)
def test_arrays_and_containers_come_back(value, protocol, tmp_path):
    path = written(tmp_path, pickle.dumps(value, protocol=protocol))
    assert equal(read_pickled_arrays(path), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_of_numpy_become_plain_ones(protocol, tmp_path):
    value = {np.int64(5): [np.float32(0.5), np.bool_(True)]}
    path = written(tmp_path, pickle.dumps(value, protocol=protocol))
    found = read_pickled_arrays(path)
    assert equal(found, {5: [0.5, True]})


def test_names_of_old_and_new_numpy(tmp_path):
    content = pickle.dumps({1: ARRAY}, protocol=2)
    assert b"numpy._core." in content
    for core in (b"numpy.core.", b"numpy._core."):
        path = written(tmp_path, content.replace(b"numpy._core.", core))
        assert equal(read_pickled_arrays(path), {1: ARRAY})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dictionaries_with_defaults_or_an_order_become_plain_ones(protocol, tmp_path):
    made = collections.defaultdict(tuple, {1: ARRAY})
    value = [made, collections.OrderedDict(a=1), collections.defaultdict(None)]
    path = written(tmp_path, pickle.dumps(value, protocol=protocol))
    found = read_pickled_arrays(path)
    assert equal(found, [{1: ARRAY}, {"a": 1}, {}])
    # The maker of defaults of the published code, whose module is not here.
    content = pickle.dumps(made, protocol=2)
    assert b"c__builtin__\ntuple\n" in content
    maker = b"cutils\ndefaultdict_tuple\n"
    path = written(tmp_path, content.replace(b"c__builtin__\ntuple\n", maker))
    assert equal(read_pickled_arrays(path), {1: ARRAY})


# ---------------------------------------------------------------- hostile files


class Runs:
    """Pickles as a call, which a loader would make."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


class Sets:
    """Pickles as a call whose result is given a state."""

    def __reduce__(self):
        return np.dtype, ("i8",), {"__setstate__": Runs(os.system, "true")}


def text(word: str) -> bytes:
    return b"\x8c" + bytes([len(word)]) + word.encode()


def named(module: str, name: str) -> bytes:
    return b"\x80\x04" + text(module) + text(name) + b"\x93"


def called(module: str, name: str, *arguments: str) -> bytes:
    words = b"".join(text(word) for word in arguments)
    return named(module, name) + b"(" + words + b"tR."


def hostile(mark: Path) -> dict[str, tuple[bytes, str]]:
    """Return pickles that leave a file when loaded, and the message for each."""
    shell, code = f"touch {mark}", f"open({str(mark)!r}, 'w').close()"
    system = f"{os.system.__module__}.system"
    in_objects = np.empty(1, object)
    in_objects[0] = Runs(os.system, shell)
    # Strings by way of the memo, so that the name is nowhere next to its opcode.
    words = b"".join(text(word) + b"\x94" for word in ("builtins", "exec", code))
    memo = b"\x80\x04(" + words + b"th\x00h\x01\x93h\x02\x85R."
    extension = b"\x80\x02\x82\x51U" + bytes([len(shell)]) + shell.encode() + b"\x85R."
    within = pickle.dumps({1: {"rank_neg": [ARRAY, Runs(os.system, shell)]}})
    return {
        "os.system": (pickle.dumps(Runs(os.system, shell)), system),
        "protocol 0": (pickle.dumps(Runs(os.system, shell), 0), system),
        "protocol 2": (pickle.dumps(Runs(os.system, shell), 2), system),
        "eval": (pickle.dumps(Runs(eval, code)), "builtins.eval"),
        "exec": (pickle.dumps(Runs(exec, code), 2), "__builtin__.exec"),
        "within a dictionary": (within, system),
        "in an array of objects": (pickle.dumps(in_objects), "other than numbers"),
        "stack global": (called("os", "system", shell), "os.system"),
        "memo": (memo, "builtins.exec"),
        "dotted": (called("numpy", "core.os.system", shell), "numpy.core.os.system"),
        "of numpy": (called("numpy", "load", str(mark)), "numpy.load"),
        "getattr": (called("builtins", "getattr", "a", "b"), "builtins.getattr"),
        "import": (called("builtins", "__import__", "os"), "builtins.__import__"),
        "maker": (called("builtins", "list", "ab"), "a call of builtins.list"),
        "codec": (called("_codecs", "encode", "x", "rot13"), "an encoding"),
        "extension": (extension, "the opcode EXT1"),
        "persistent id": (b"Pfile\n.", "the opcode PERSID"),
        "binary persistent id": (b"\x80\x02K\x01Q.", "the opcode BINPERSID"),
        "instance": (b"(S'x'\nios\nsystem\n.", "the opcode STRING"),
        "object": (named("collections", "OrderedDict") + b")\x81.", "NEWOBJ"),
        "state of a name": (
            named("numpy", "ndarray") + b"}" + text("x") + b"K\x01sb.",
            "a state of something other than an array",
        ),
        "state of a type": (pickle.dumps(Sets()), system),
        "buffer": (b"\x80\x05\x97.", "the opcode NEXT_BUFFER"),
    }


@pytest.mark.parametrize("name", hostile(Path("x")))
def test_nothing_of_a_hostile_pickle_runs(name, tmp_path):
    mark = tmp_path / "ran"
    content, part = hostile(mark)[name]
    if name == "extension":
        copyreg.add_extension("os", "system", 0x51)
    try:
        path = written(tmp_path, content)
        with pytest.raises(InputError) as caught:
            read_pickled_arrays(path)
    finally:
        if name == "extension":
            copyreg.remove_extension("os", "system", 0x51)
    assert not mark.exists()
    message = str(caught.value)
    assert message.startswith(f"{path}: byte ") and part in message
    assert "nothing of it was run" in message


# Tuples nested too deep to be hashed or printed, and, as each holds the one before
# twice, too large for either.
DEEP = b")" + b"\x85" * 200_000
WIDE = b")\x94" + b"".join(b"h" + bytes([n]) + b"\x86\x94" for n in range(60))


@pytest.mark.parametrize("value", [DEEP, WIDE], ids=["deep", "wide"])
@pytest.mark.parametrize("after", [b"\x85R.", b"K\x00K\x00\x87R."])
@pytest.mark.parametrize(
    "name",
    [
        "collections defaultdict",
        "collections OrderedDict",
        "numpy._core.multiarray _reconstruct",
        "numpy dtype",
        "_codecs encode",
        "__builtin__ bytes",
    ],
)
def test_a_value_in_place_of_a_name_ends_in_an_error(name, after, value, tmp_path):
    path = written(tmp_path, named(*name.split()) + value + after)
    with pytest.raises(InputError):
        read_pickled_arrays(path)


@pytest.mark.parametrize("name", ["os.system", "eval", "exec", "memo", "stack global"])
def test_a_loader_would_have_run_them(name, tmp_path):
    """The files above are hostile indeed: pickle itself leaves the mark."""
    mark = tmp_path / "ran"
    pickle.loads(hostile(mark)[name][0])
    assert mark.exists()


# ---------------------------------------------------------------- impossible sizes


def array_state(shape: bytes, data: bytes = b"C\x08" + bytes(8)) -> bytes:
    """Return a pickle of an int64 array of any shape (opcodes of a tuple)."""
    whole = pickle.dumps(np.zeros(1, np.int64), protocol=3)
    start, end = whole.index(b"K\x01K\x01\x85"), whole.index(b"\x89C\x08")
    between = whole[start + 5 : end]
    return whole[:start] + b"K\x01" + shape + between + b"\x89" + data + b"tb."


def test_an_array_of_any_shape_is_made_as_numpy_makes_it(tmp_path):
    content = array_state(b"K\x01\x85")
    assert equal(read_pickled_arrays(written(tmp_path, content)), np.zeros(1, int))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (array_state(b"\x8a\x06" + b"\xff" * 5 + b"\x00\x85"), "an array of 8796"),
        (array_state(b"\x8a\x09" + b"\xff" * 8 + b"\x00\x85"), "impossible shape"),
        (array_state(b"K\x02\x85"), "an array of 16 bytes by its shape and 8 bytes"),
        (array_state(b"J\xff\xff\xff\xff\x85"), "impossible shape"),
        (array_state(b"(" + b"K\x01" * 9 + b"t"), "impossible shape"),
        (array_state(b"\x88\x85"), "impossible shape"),
        (
            b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
            "is not a pickle, is cut off",
        ),
        (
            b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
            "is not a pickle, is cut off",
        ),
        (b"\x80\x04\x8b" + struct.pack("<i", 2**31 - 1) + b"x.", "is not a pickle"),
        (b"\x80\x04j" + struct.pack("<I", 2**32 - 1) + b".", "is not a pickle"),
        (b"\x80\x02}()K\x01u.", "neither a number nor a string"),
    ],
)
def test_absurd_sizes_are_refused(content, part, tmp_path):
    path = written(tmp_path, content)
    with pytest.raises(InputError) as caught:
        read_pickled_arrays(path)
    assert part in str(caught.value) and str(path) in str(caught.value)


def test_a_place_of_the_memo_takes_no_memory(tmp_path):
    """Loaders that keep the memo in a list would ask for 32 GB here."""
    content = b"\x80\x04K\x07r" + struct.pack("<I", 2**32 - 1) + b"."
    assert read_pickled_arrays(written(tmp_path, content)) == 7


def test_text_is_not_made_into_bytes_again_and_again(tmp_path):
    letters = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x01"
    first = b"c_codecs\nencode\nq\x00" + letters + b"X\x06\x00\x00\x00latin1q\x02\x86R"
    again = b"h\x00h\x01h\x02\x86R" * 100
    path = written(tmp_path, b"\x80\x02(" + first + again + b"t.")
    assert len(pickle.loads(path.read_bytes())) == 101
    with pytest.raises(InputError, match="more bytes than the file"):
        read_pickled_arrays(path)


# ---------------------------------------------------------------- damaged files


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_file_that_is_cut_off_anywhere_is_refused(protocol, tmp_path):
    whole = pickle.dumps({1: {"rank_neg": ARRAY, "a": [1, "b"]}}, protocol=protocol)
    for end in range(len(whole)):
        path = written(tmp_path, whole[:end])
        with pytest.raises(InputError, match=r"2024-01-13.pkl: "):
            read_pickled_arrays(path)
    with pytest.raises(InputError, match="1 bytes follow its end"):
        read_pickled_arrays(written(tmp_path, whole + b"x"))


def test_a_changed_byte_gives_an_error_of_input_or_plain_data(tmp_path):
    some = np.random.default_rng(0)
    value = {1: {"rank_neg": ARRAY, "a": [1, "b", 2.5]}, 2: (np.int64(3),)}
    whole = pickle.dumps(value, protocol=4)
    refused = 0
    for _ in range(1500):
        content = bytearray(whole)
        for place in some.integers(len(whole), size=some.integers(1, 4)):
            content[place] = some.integers(256)
        try:
            read_pickled_arrays(written(tmp_path, bytes(content)))
        except InputError:
            refused += 1
    assert refused > 500


def test_text_is_no_pickle(tmp_path):
    with pytest.raises(InputError, match="is not a pickle, is cut off or damaged"):
        read_pickled_arrays(written(tmp_path, b"\x00request_id,video_id\n"))
    with pytest.raises(InputError, match="is empty"):
        read_pickled_arrays(written(tmp_path, b""))
