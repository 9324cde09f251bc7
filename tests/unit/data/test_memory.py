"""The memory that is free at a moment, of the machine and of a container."""

from pathlib import Path

from twotower_jax.data.memory import available_memory, machine_memory


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_the_least_room_counts(tmp_path):
    assert available_memory(tmp_path) == machine_memory()
    write(tmp_path, {"proc/meminfo": "MemTotal: 9999 kB\nMemAvailable:    2048 kB\n"})
    assert available_memory(tmp_path) == 2**21
    group = {"memory.max": "1000", "memory.current": "700"}
    group["memory.stat"] = "anon 500\nactive_file 150\ninactive_file 50\n"
    write(tmp_path / "sys/fs/cgroup", group)
    assert available_memory(tmp_path) == 350
    write(tmp_path / "sys/fs/cgroup", {"memory.max": "max\n"})
    assert available_memory(tmp_path) == 2**21


def test_this_machine_has_some_and_not_all_of_its_memory():
    assert 0 < available_memory() < machine_memory()
