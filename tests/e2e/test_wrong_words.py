"""Words that Hydra cannot read or compose end with one message and the remedy."""

import gzip

import pytest
from helpers import tiny

from twotower_jax.sweeps.wrong_words import explained

CLICKS = "user,item\n" + "".join(f"u{row % 20},i{row * 7 % 41}\n" for row in range(180))


def train(capsys, tmp_path, *words):
    """Return the status of a training on few steps, and what it printed."""
    small = (f"output={tmp_path}/out", "training.steps=3", "training.batch_size=16")
    status = tiny.command("train", *small, "evaluation.k=[10,20]", *words)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return status, shown.err


@pytest.mark.parametrize("name", ["ü[1].csv", "a~b.csv", "(x).csv", "a b.csv"])
def test_paths_need_no_quotes_of_hydra(name, tmp_path, capsys):
    (tmp_path / name).write_text(CLICKS)
    words = ("data=table", f"data.path={tmp_path}/{name}")
    assert train(capsys, tmp_path, *words) == (0, "")


@pytest.mark.slow
def test_a_path_in_the_home_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clicks.csv").write_text(CLICKS)
    words = ("data=table", "data.path=~/clicks.csv", "output=~/runs")
    status, _ = train(capsys, tmp_path, *words[:2])
    assert status == 0
    assert tiny.command("audit", words[2], "data=simulator", "negatives=uniform") == 0
    assert (tmp_path / "runs" / "audit").is_dir()


def test_a_path_with_a_comma_runs_as_the_message_says(tmp_path, capsys):
    (tmp_path / "a,b.csv").write_text(CLICKS)
    word = f"data.path={tmp_path}/a,b.csv"
    status, error = train(capsys, tmp_path, "data=table", word)
    assert status == 2
    quoted = f"data.path='{tmp_path}/a,b.csv'"
    assert f'quotes of its own: "{quoted}"' in error
    assert train(capsys, tmp_path, "data=table", quoted)[0] == 0


def test_a_file_alone_is_answered_with_its_key(tmp_path, capsys):
    (tmp_path / "clicks.csv").write_text(CLICKS)
    status, error = train(capsys, tmp_path, f"{tmp_path}/clicks.csv")
    assert status == 2 and f"data=table data.path={tmp_path}/clicks.csv" in error


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["loss.temperature=[1,"], "\"loss.temperature='[1,'\""),
        (["+data.foo=1"], "unknown key data.foo"),
        (["+data.foo.bar=1"], "unknown key data.foo"),
        (["seed=${oc.env:NO_SUCH_NAME}"], "NO_SUCH_NAME"),
        (["data=table", "data.path=${oc.env:NO_SUCH_NAME}"], "NO_SUCH_NAME"),
        (["evaluation.k=[1,[2]]"], "evaluation.k: [2] is not a number"),
        (["evaluation.k=[a]"], "evaluation.k"),
        (
            ["evaluation.uniform_exposures=100000000000"],
            "evaluation.uniform_exposures=100000000000 items",
        ),
        (["--resolve"], "add --cfg job, or leave it out"),
        (["a=1", "-m", "b=2"], "unknown key a"),
        (["hydra.sweep.dir=null"], "hydra.sweep.dir"),
        (["-m", "hydra.sweeper.params.seed=1"], "such as -m seed=0,1,2"),
        (["-m", "seed=range(1,0)"], "seed=range(1,0) lists no value"),
        (["-m", "seed=glob(*)"], "seed=glob(*) lists no value"),
        (["-m", "seed=range(0,9),3"], "seed=range(0,9),3: Unexpected"),
        (["seed=1", "loss=4"], "error: loss=4: Config group override must be"),
        (["loss.stage_pairs=1"], "set one, such as loss.stage_pairs.weight"),
        (["training.mesh=4"], "training.mesh has keys of its own; set one, such as "),
        (
            ["-m", "seed=range(1,0)", "hydra/sweeper=select"],
            "seed=range(1,0) lists no value",
        ),
        ([f"loss.foo={'x' * 5000}"], "unknown key loss.foo"),
        ([f"{'x' * 5000}=1"], "unknown: xxxxxxxxxx... (File name too long)"),
        ([f"arms={'x' * 5000}"], "arms=xxxxx... (File name too long); twotower train"),
        (
            ["seed=${oc.env:NO_NAME}"],
            "seed=${oc.env:NO_NAME} has no value: KeyError",
        ),
        (["-m", "seed=${oc.env:NO_NAME}"], "seed=${oc.env:NO_NAME} has no value: KeyE"),
        (["name=${name}"], "name=${name} has no value: Recursive interpolation"),
        (["-m", "name=${name}"], "name=${name} has no value: Recursive interpolation"),
        (["name=${hydra:job.num}"], "name=${hydra:job.num} has no value: While"),
        (
            ["+data@foo=table"],
            "+data@foo=table: In 'data/table': ConfigKeyError raised",
        ),
        (["+data@foo=table"], "config: Key 'foo' not in 'Config'; correct that file"),
        (["=1"], "error: =1: Config group override must be"),
        (["+@x=1"], "error: +@x=1: Config group override must be"),
        (["-sc"], "it takes one of install=SHELL"),
        (["-sc", "install=nosuch"], "SHELL being bash, fish or zsh"),
        (
            ["-m", "hydra.launcher._target_=a.b"],
            "hydra.launcher._target_=a.b: Invalid plugin 'a.b'",
        ),
        (
            ["-m", "hydra.sweeper._target_=a.b", "seed=0"],
            "hydra.sweeper._target_=a.b: Invalid plugin 'a.b'",
        ),
        (["-m", "hydra.launcher=null"], "or name a launcher or sweeper by its file"),
        (["-m", "hydra.sweeper=null"], "hydra.sweeper=null: Hydra sweeper is not"),
    ],
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_wrong_words_end_with_one_message(words, part, tmp_path, capsys):
    status, error = train(capsys, tmp_path, *words)
    assert status == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and part in error
    assert not list(tmp_path.rglob("result.json"))


def test_a_broken_file_of_an_arm_is_named_with_its_cause(tmp_path, capsys):
    (tmp_path / "arms").mkdir()
    (tmp_path / "arms" / "evil.yaml").write_text("loss:\n  foo: 2\n")
    place = f"hydra.searchpath=[file://{tmp_path}]"
    status, error = train(capsys, tmp_path, place, "arms=evil")
    assert status == 2 and error.count("\n") == 1
    assert error.startswith("error: arms=evil: In 'arms/evil': ConfigKeyError raised")
    assert "Key 'arms' not in 'Config'; correct that file" in error


def test_an_error_of_a_run_is_not_one_of_words():
    with pytest.raises(RuntimeError, match="^PJRT plugin"), explained(["seed=1"]):
        raise RuntimeError("PJRT plugin of this machine cannot be started")


def test_a_completion_without_a_shell(capsys):
    assert tiny.command("-sc") == 2
    assert capsys.readouterr().err.startswith("error: -sc: Expecting one subcommand")


@pytest.mark.parametrize("key", ["loss.name", "name", "data.path", "arm", ""])
def test_a_long_word_is_cut_in_the_message(key, tmp_path, capsys):
    word = f"{key}={'x' * 5000}" if key else "x" * 5000
    _, error = train(capsys, tmp_path, "data=table", word)
    assert len(error) < 700


def test_data_check_without_a_group(tmp_path, capsys):
    assert tiny.command("data", "check", "data=null") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: data=null: Config group") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (CLICKS.encode("utf-16"), "is UTF-16 text; convert it: iconv"),
        (
            "user,item\ncafé,x\n".encode("latin-1"),
            "(byte 14 is 0xe9); convert it: iconv",
        ),
        (b"PK\x03\x04" + bytes(90), "is a zip archive, as the files of spreadsheets"),
        (gzip.compress(CLICKS.encode()), "rename it to clicks.csv.gz"),
        (b"user,user,item\na,b,c\n", "two columns are named 'user'"),
        (
            CLICKS.replace("\n", "\r").encode(),
            "its lines end with a carriage return alone; write it with line feeds: tr",
        ),
    ],
    ids=["utf-16", "latin-1", "zip", "gzip", "names", "cr"],
)
def test_files_that_are_not_what_their_name_says(content, part, tmp_path, capsys):
    path = tmp_path / "clicks.csv"
    path.write_bytes(content)
    status, error = train(capsys, tmp_path, "data=table", f"data.path={path}")
    assert status == 2 and part in error
    assert tiny.command("data", "check", str(path)) == 2
    assert part in capsys.readouterr().err
