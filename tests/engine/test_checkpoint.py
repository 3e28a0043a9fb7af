"""A save is all or nothing: killed, cut, flipped or full, the newest sound checkpoint is never older than before."""

import errno
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from equipoise.core import disk
from equipoise.core.errors import CheckpointError, DiskError
from equipoise.engine.checkpoint import SCHEMA, Checkpoints, Snapshot, seal

CALLS = ("open", "write", "fsync", "close", "mkdir", "replace", "unlink", "rmdir")
"""All that saving does to the file system."""


def content(step: int, size: int = 64) -> Snapshot:
    generator = torch.Generator().manual_seed(step)
    values = torch.randn(size, generator=generator)
    return Snapshot({"game": {"w": values, "n": torch.tensor(step)}, "averaged": {"w": values / 2}}, {"step": step})


def filled(folder: Path, *steps: int, keep: int = 10, size: int = 64) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(step, content(step, size))
    return checkpoints


def newest(folder: Path) -> int:
    """The newest sound step; 0 where there is nothing."""
    snapshot = Checkpoints(folder).newest()
    if snapshot is None:
        return 0
    step = snapshot.state["step"]
    assert torch.equal(snapshot.tensors["game"]["w"], content(step).tensors["game"]["w"])
    return step


def unsound(folder: Path) -> set[int]:
    """The steps that have a name but are not as they were written."""
    checkpoints = Checkpoints(folder)
    return {step for step in checkpoints.steps() if not checkpoints.sound(step)}


def test_what_is_loaded_is_what_was_saved(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, 2, 2).to(memory_format=torch.channels_last),
        "b": torch.randn(3).to(torch.bfloat16),
        "c": torch.tensor([torch.inf, -0.0, 1e-42]),
        "d": torch.tensor(7),
        "empty": torch.zeros(0, 3),
    }
    state = {"step": 3, "x": 0.1 + 0.2, "text": "ü", "list": [1, None, True]}
    Checkpoints(tmp_path, identity={"run": "r"}).save(3, Snapshot({"game": tensors, "averaged": {}}, state))
    loaded = Checkpoints(tmp_path).newest()
    assert loaded.state == state
    assert loaded.tensors["averaged"] == {}
    for name, tensor in tensors.items():
        assert loaded.tensors["game"][name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors["game"][name], tensor)
    assert Checkpoints(tmp_path).manifest(3)["identity"] == {"run": "r"}


def test_tied_and_overlapping_tensors_are_saved(tmp_path):
    w = torch.arange(6.0)
    Checkpoints(tmp_path).save(1, Snapshot({"game": {"a": w, "b": w, "c": w[2:4], "d": w.view(2, 3).T}}, {"step": 1}))
    loaded = Checkpoints(tmp_path).load(1).tensors["game"]
    assert torch.equal(loaded["b"], w)
    assert torch.equal(loaded["c"], w[2:4])
    assert torch.equal(loaded["d"], w.view(2, 3).T)


def test_saving_moves_no_randomness(tmp_path):
    before, python = torch.get_rng_state(), random.getstate()
    filled(tmp_path, 1, 2, 3, keep=1)
    assert torch.equal(before, torch.get_rng_state())
    assert random.getstate() == python


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "nowhere").newest() is None
    assert Checkpoints(tmp_path).newest() is None


def test_a_save_of_a_step_that_is_there_keeps_it(tmp_path):
    checkpoints = filled(tmp_path, 1)
    modified = (tmp_path / "step-000000001" / "manifest.json").stat().st_mtime_ns
    checkpoints.save(1, content(1))
    assert (tmp_path / "step-000000001" / "manifest.json").stat().st_mtime_ns == modified


# ---------------------------------------------------------------- killed at any point


class Death:
    """The process dies at the k-th call into the file system: before it, or half-way through it if it is a write."""

    def __init__(self, k: int, moment: str):
        self.k, self.moment, self.count = k, moment, 0
        self.writes: list[int] = []

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.wrapped(getattr(os, name), halves=name == "write"))

    def wrapped(self, call: Callable, *, halves: bool) -> Callable:
        def mortal(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            self.writes += [self.count] * halves
            if self.count == self.k and self.moment == "half":
                call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            if self.count == self.k:
                os._exit(9)
            return call(*arguments, **named)

        return mortal


def in_child(
    work: Callable[[Callable[[int], None]], None], *, kill_after: float | None = None
) -> tuple[int, list[int]]:
    """Exit status (negative for a signal) of a forked child, and the numbers it told through the given function."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        write = os.write  # before it is wrapped
        try:
            work(lambda number: (write(writing, b"%d\n" % number), None)[1])
            os._exit(0)
        except BaseException:
            os._exit(1)
    os.close(writing)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as file:
        told = [int(line) for line in file.read().split()]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), told


def saves(folder: Path, steps: range, death: Death) -> Callable[[Callable[[int], None]], None]:
    """Work for a child: save the steps, tell each when done; then which calls were writes, and how many there were."""

    def work(tell: Callable[[int], None]) -> None:
        death.install()
        checkpoints = Checkpoints(folder, keep=2)
        for step in steps:
            checkpoints.save(step, content(step))
            tell(step)
        for number in [*death.writes, death.count]:
            tell(number)

    return work


def fresh(folder: Path) -> range:
    """Nothing is there; four checkpoints are saved and two of them retired."""
    return range(1, 5)


def with_damage(folder: Path) -> range:
    """Two sound checkpoints and a damaged one in the way of the next save, and what earlier deaths left."""
    filled(folder, 1, 2, 3)
    (folder / "step-000000003" / "state.json").write_bytes(b"{")
    shutil.copytree(folder / "step-000000001", folder / ".saving-000000003-1")
    shutil.copytree(folder / "step-000000001", folder / ".removed-step-000000000-1")
    return range(3, 5)


@pytest.mark.parametrize("prepare", [fresh, with_damage])
def test_killed_at_any_point_the_newest_checkpoint_is_never_older(prepare, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # counted, not waited for: only a power cut needs it
    steps = prepare(tmp_path / "all")
    damaged = unsound(tmp_path / "all")
    status, told = in_child(saves(tmp_path / "all", steps, Death(0, "before")))
    assert status == 0
    *writes, num_calls = told[len(steps) :]
    assert len(writes) == 4 * len(steps)
    assert num_calls > 60
    for k, moment in [*((k, "before") for k in range(1, num_calls + 1)), *((k, "half") for k in writes)]:
        folder = tmp_path / f"{k}-{moment}"
        prepare(folder)
        status, told = in_child(saves(folder, steps, Death(k, moment)))
        assert status == 9
        last = told[-1] if told else steps.start - 1
        assert newest(folder) >= last, f"died {moment} call {k}"
        assert unsound(folder) <= damaged, f"died {moment} call {k}"
        filled(folder, last + 1, last + 2, keep=2)
        assert newest(folder) == last + 2
        assert sorted(path.name for path in folder.iterdir()) == [f"step-{s:09d}" for s in (last + 1, last + 2)]
        shutil.rmtree(folder)


def test_everything_is_on_the_disk_before_it_has_a_name_and_the_name_before_anything_is_removed(tmp_path, monkeypatch):
    filled(tmp_path, 1, 2)
    done, paths = [], {}
    real = {name: getattr(os, name) for name in ("open", "fsync", "replace")}

    def opening(path, *arguments):
        descriptor = real["open"](path, *arguments)
        paths[descriptor] = Path(path).name
        return descriptor

    monkeypatch.setattr(os, "open", opening)
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(("fsync", paths[d])), real["fsync"](d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("replace", Path(b).name)), real["replace"](a, b))[1])
    Checkpoints(tmp_path, keep=1).save(3, content(3))
    named = done.index(("replace", "step-000000003"))
    assert [name for _, name in done[: named - 1]] == [*files()]  # the manifest last
    assert done[named - 1][0] == "fsync"
    assert done[named - 1][1].startswith(".saving-")
    assert done[named + 1] == ("fsync", tmp_path.name)
    assert [name.startswith(".removed-") for _, name in done[named + 2 :]] == [True, True]


def test_sigkill_at_a_random_moment_leaves_a_sound_checkpoint(tmp_path):
    chance = random.Random(0)
    last = 0
    for _ in range(3):

        def work(tell, start=last):
            checkpoints = Checkpoints(tmp_path, keep=2)
            for step in range(start + 1, start + 10_000):
                checkpoints.save(step, content(step))
                tell(step)

        status, told = in_child(work, kill_after=chance.uniform(0.1, 0.4))
        assert status == -signal.SIGKILL
        last = max(told, default=last)
        assert newest(tmp_path) in (last, last + 1)
        last = newest(tmp_path)


# ---------------------------------------------------------------- damaged on the disk


def files() -> list[str]:
    return ["game.safetensors", "averaged.safetensors", "state.json", "manifest.json"]


def assert_passed_over(folder: Path) -> None:
    """Step 2 is refused, step 1 taken instead, and that is noticed."""
    notices = []
    checkpoints = Checkpoints(folder, notice=lambda kind, message: notices.append((kind, message)))
    with pytest.raises(CheckpointError):
        checkpoints.load(2)
    assert not checkpoints.sound(2)
    assert checkpoints.newest().state == {"step": 1}
    ((kind, message),) = notices
    assert kind == "fallback"
    assert "step-000000002" in message
    shutil.rmtree(folder / "step-000000001")
    with pytest.raises(CheckpointError, match="None of the checkpoints can be trusted"):
        checkpoints.newest()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", files())
def test_a_file_cut_short_is_noticed(name, share, tmp_path):
    filled(tmp_path, 1, 2, size=2000)
    path = tmp_path / "step-000000002" / name
    data = path.read_bytes()
    path.write_bytes(data[: min(int(len(data) * share), len(data) - 1)])
    assert_passed_over(tmp_path)


@pytest.mark.parametrize("name", files())
def test_one_flipped_bit_is_noticed(name, tmp_path):
    filled(tmp_path, 1, 2)
    path = tmp_path / "step-000000002" / name
    data = bytearray(path.read_bytes())
    where = data.index(b'"sha256": "') + 20 if name == "manifest.json" else len(data) // 2
    data[where] ^= 1
    path.write_bytes(data)
    assert_passed_over(tmp_path)


@pytest.mark.parametrize("name", files())
def test_a_missing_file_is_noticed(name, tmp_path):
    filled(tmp_path, 1, 2)
    (tmp_path / "step-000000002" / name).unlink()
    assert_passed_over(tmp_path)


def test_a_manifest_with_another_recipe_in_it_is_noticed(tmp_path):
    """Any bit counts, also one that leaves the manifest readable."""
    filled(tmp_path, 1, 2)
    path = tmp_path / "step-000000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"identity": {"recipe": "another"}}))
    with pytest.raises(CheckpointError, match="its manifest has changed since it was saved"):
        Checkpoints(tmp_path).load(2)
    assert_passed_over(tmp_path)


def test_a_format_of_the_future_is_refused_by_name(tmp_path):
    filled(tmp_path, 1, 2)
    (tmp_path / "step-000000002" / "manifest.json").write_text(json.dumps({"schema": SCHEMA + 1, "parts": []}))
    with pytest.raises(CheckpointError, match=f"has format {SCHEMA + 1}; this version reads format {SCHEMA}"):
        Checkpoints(tmp_path).load(2)
    assert_passed_over(tmp_path)


def sealed(manifest: dict[str, Any]) -> str:
    """A manifest that vouches for itself."""
    manifest = {key: value for key, value in manifest.items() if key != "seal"}
    return json.dumps(manifest | {"seal": seal(manifest)})


def declared(name: str, data: bytes = b"") -> dict[str, Any]:
    """A manifest whose one entry is true to its file."""
    return {"schema": SCHEMA, "files": {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}}


def naming(name: str) -> str:
    """A manifest that is true but for one more file of that name, whose content would be "{}"."""
    state = declared("state.json", STATE)["files"]
    return sealed({"schema": SCHEMA, "files": {**state, **declared(name, b"{}")["files"]}})


STATE = b'{\n "step": 2\n}'
"""The content of state.json at step 2."""

NAMES = {
    "path traversal": "../../secret.json",
    "backslash": "..\\secret.json",
    "hidden": ".secret.json",
    "absolute path": "/etc/passwd",
    "parent": "..",
    "no name": "",
    "nul": "a\0.json",
    "surrogate": "\ud800.json",
    "very long name": "a" * 5000,
}

MANIFESTS = {
    **{what: naming(name) for what, name in NAMES.items()},
    "nesting": "[" * 100_000 + "]" * 100_000,
    "nested files": sealed({"schema": SCHEMA, "files": [[[]]]}),
    "a list": "[]",
    "a number": "1e999",
    "text": json.dumps("manifest"),
    "null": "null",
    "no files": sealed({"schema": SCHEMA, "files": None}),
    "no state": sealed({"schema": SCHEMA, "files": {}}),
    "sizes of the wrong kind": sealed({"schema": SCHEMA, "files": {"state.json": {"bytes": "many", "sha256": "0"}}}),
    "an infinite size": f'{{"schema": {SCHEMA}, "files": {{"state.json": {{"bytes": 1e999, "sha256": "0"}}}}}}',
    "hashes of the wrong kind": sealed({"schema": SCHEMA, "files": {"state.json": {"bytes": 13, "sha256": []}}}),
}
HOSTILE = {"not UTF-8": b'\xff\xfe{"schema": 1}'} | {what: text.encode() for what, text in MANIFESTS.items()}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused(name, tmp_path, monkeypatch):
    filled(tmp_path / "run", 1, 2)
    (tmp_path / "secret.json").write_text("{}")
    for name_in_folder in ("..\\secret.json", ".secret.json"):
        (tmp_path / "run" / "step-000000002" / name_in_folder).write_text("{}")
    (tmp_path / "run" / "step-000000002" / "manifest.json").write_bytes(HOSTILE[name])
    opened = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (opened.append(str(path)), real(path))[1])
    assert_passed_over(tmp_path / "run")
    assert opened
    assert not [path for path in opened if "secret" in path or "passwd" in path]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("state.json", b"[" * 100_000 + b"]" * 100_000),
        ("state.json", b"[1, 2]"),
        ("state.json", b"null"),
        ("state.json", b"\xff"),
        ("game.safetensors", b""),
        ("game.safetensors", b"\xff" * 100),
        ("game.safetensors", (2).to_bytes(8, "little") + b"[]"),
        (
            "game.safetensors",
            (61).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9999999],"data_offsets":[0,4]}}  ' + bytes(4),
        ),
    ],
)
def test_hostile_content_with_a_true_manifest_is_refused(name, data, tmp_path):
    filled(tmp_path, 1, 2)
    folder = tmp_path / "step-000000002"
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= declared(name, data)["files"]
    (folder / "manifest.json").write_text(sealed(manifest))
    assert_passed_over(tmp_path)


def test_no_pickle_is_read(tmp_path):
    import pickle  # to make a hostile file: nothing in the package may read it

    class Canary:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "canary",))

    data = pickle.dumps(Canary())
    filled(tmp_path / "run", 1, 2)
    folder = tmp_path / "run" / "step-000000002"
    (folder / "extra.pkl").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= declared("extra.pkl", data)["files"]
    (folder / "manifest.json").write_text(sealed(manifest))
    assert_passed_over(tmp_path / "run")
    assert not (tmp_path / "canary").exists()


# ---------------------------------------------------------------- retention


def test_the_newest_are_kept(tmp_path):
    assert filled(tmp_path, 1, 2, 3, 10, 11, keep=2).steps() == [10, 11]
    assert filled(tmp_path, 12, keep=1).steps() == [12]


@pytest.mark.parametrize("keep", [1, 2])
def test_retention_never_removes_the_only_sound_checkpoint(keep, tmp_path):
    filled(tmp_path, 1, 5, 6, 7)
    for step in (5, 6, 7):
        (tmp_path / f"step-{step:09d}" / "state.json").write_text("{}")
    assert newest(tmp_path) == 1
    filled(tmp_path, 2, keep=keep)
    assert newest(tmp_path) == 2
    filled(tmp_path, 3, 4, keep=keep)
    assert newest(tmp_path) == 4


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(tmp_path):
    filled(tmp_path, 1, 2)
    (tmp_path / "step-000000002" / "state.json").write_text("{}")
    filled(tmp_path, 2)
    assert newest(tmp_path) == 2


# ---------------------------------------------------------------- what cannot be saved


@pytest.mark.parametrize(
    "snapshot",
    [
        Snapshot({"game": {"w": torch.zeros(1)}}, {"x": float("nan")}),
        Snapshot({"game": {"w": torch.zeros(1)}}, {"x": object()}),
        Snapshot({"game": {"w": "no tensor"}}, {}),  # type: ignore[dict-item]
        Snapshot({"game": {"w": torch.zeros(2).to_sparse()}}, {}),
    ],
)
def test_what_cannot_be_written_down_leaves_no_file(snapshot, tmp_path):
    checkpoints = filled(tmp_path, 1)
    with pytest.raises((ValueError, TypeError, AttributeError, RuntimeError)):
        checkpoints.save(2, snapshot)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_a_full_disk_is_said_so_and_the_old_checkpoint_stays(allowed, tmp_path, monkeypatch):
    checkpoints = filled(tmp_path, 1)
    written = []
    real = os.write

    def write(descriptor, data):
        if len(written) >= allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(len(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 3_200)
    with pytest.raises(DiskError, match=r"needs 1\.\d kB, 3\.2 kB are free") as caught:
        checkpoints.save(2, content(2, size=128))
    assert caught.value.exit_code == 74
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
    assert newest(tmp_path) == 1
    checkpoints.save(2, content(2))
    assert newest(tmp_path) == 2


@pytest.mark.parametrize("name", ["open", "fsync", "mkdir", "replace"])
def test_any_refusal_of_the_file_system_is_a_disk_error(name, tmp_path, monkeypatch):
    checkpoints = filled(tmp_path, 1)

    def refuse(*arguments, **named):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(DiskError, match=r"Saving a checkpoint in .* failed: Input/output error"):
        checkpoints.save(2, content(2))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]


def test_a_file_size_limit_is_a_full_disk(tmp_path):
    filled(tmp_path, 1)

    def work(tell: Callable[[int], None]) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
        try:
            Checkpoints(tmp_path).save(2, content(2, size=5000))
        except DiskError as error:
            tell(error.exit_code)
            tell(int("The disk is full" in str(error) and "kB" in str(error)))

    assert in_child(work) == (0, [74, 1])
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
