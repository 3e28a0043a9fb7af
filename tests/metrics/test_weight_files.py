"""Weight files are read as torch.load reads them, and whatever is not a dictionary of tensors is refused."""

import hashlib
import os
import zipfile
from collections import OrderedDict

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from equipoise.core.errors import CheckpointError
from equipoise.metrics.weights import check_keys, read_weights

LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-1.6"])


def some_weights() -> dict[str, torch.Tensor]:
    """Every kind of number, shared memory, views, no elements, another order in memory, many names."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    weights = net.state_dict()
    weights["shared"] = weights["0.weight"]
    weights["view"] = torch.arange(20.0).view(4, 5).t()[1:3]
    weights["empty"] = torch.empty(0, 3)
    weights["scalar"] = torch.tensor(3)
    weights["parameter"] = nn.Parameter(torch.ones(2))
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.int16, torch.int8, torch.uint8):
        weights[str(dtype)] = torch.arange(5).to(dtype)
    weights.update({f"layer{i}": torch.ones(1) for i in range(300)})
    weights["bool"] = torch.tensor([True, False])
    return weights


def agrees_with_torch(path) -> None:
    ours, reference = read_weights(path), torch.load(path, weights_only=True)
    assert list(ours) == list(reference)
    for name, x in reference.items():
        assert ours[name].dtype == x.dtype
        assert torch.equal(ours[name], x)
        assert not ours[name].requires_grad


@LAYOUTS
def test_a_state_dict_is_read_as_torch_reads_it(tmp_path, zipped):
    torch.save(some_weights(), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    agrees_with_torch(tmp_path / "w.pth")


class Pairs:
    """Pickles as Python 2 pickled an ordered dictionary."""

    def __init__(self, values):
        self.values = values

    def __reduce__(self):
        return OrderedDict, ([[name, x] for name, x in self.values.items()],)


@LAYOUTS
def test_dictionaries_of_old_pythons_are_read(tmp_path, zipped):
    torch.save(
        Pairs({"a": torch.ones(2), "b": torch.zeros(3)}), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped
    )
    agrees_with_torch(tmp_path / "w.pth")


def test_safetensors_are_read(tmp_path):
    weights = {"a": torch.randn(3, 4), "b": torch.arange(3)}
    safetensors.torch.save_file(weights, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], x) for name, x in weights.items())


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


NO_STATE_DICTS = {
    "network": nn.Linear(2, 2),
    "lists": {"a": [torch.ones(1)]},
    "numbered": {0: torch.ones(1)},
    "nothing": None,
    "tensor": torch.ones(2),
    "text": {"a": "b"},
    "stretched": {"a": torch.ones(1).expand(10**6)},
}


@LAYOUTS
@pytest.mark.parametrize("kind", NO_STATE_DICTS)
def test_whatever_is_no_dictionary_of_tensors_is_refused(tmp_path, zipped, kind):
    torch.save(NO_STATE_DICTS[kind], tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="not a file of tensors by name"):
        read_weights(tmp_path / "w.pth")


@LAYOUTS
def test_no_code_of_the_file_runs(tmp_path, zipped):
    canary = tmp_path / "canary"
    torch.save({"a": torch.ones(1), "b": Canary(canary)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"it names (posix|nt)\.mkdir"):
        read_weights(tmp_path / "w.pth")
    assert not canary.exists()


@LAYOUTS
def test_every_truncated_file_is_refused(tmp_path, zipped):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "w.pth").read_bytes()
    for length in range(0, len(content), 3):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(CheckpointError):
            read_weights(tmp_path / "cut.pth")


@LAYOUTS
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, zipped, changes):
    path = tmp_path / f"{zipped}.pth"
    if not path.exists():
        torch.save({"a": torch.arange(3.0), "b": torch.ones(2, 2)}, path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for position, value in changes:
        content[position % len(content)] = value
    (tmp_path / "damaged.pth").write_bytes(content)
    try:
        found = read_weights(tmp_path / "damaged.pth")
    except CheckpointError:
        return
    assert all(torch.is_tensor(x) for x in found.values())


def test_an_archive_without_its_list_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"no single data\.pkl"):
        read_weights(tmp_path / "w.pth")


def test_the_hash_is_compared_first_whole_or_in_its_beginning(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(1)}, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_weights(path, sha256=found.upper()).keys() == read_weights(path, sha256=found[:8]).keys() == {"a"}
    path.write_bytes(b"anything")
    other = hashlib.sha256(b"anything").hexdigest()
    with pytest.raises(CheckpointError, match=f"expected SHA-256 {found[:8]}, found {other}"):
        read_weights(path, sha256=found[:8])


def test_a_missing_file_is_an_error_that_says_so(tmp_path):
    with pytest.raises(CheckpointError, match="No such file or directory"):
        read_weights(tmp_path / "w.pth")


def test_names_and_shapes_must_be_the_networks_own():
    expected = {"a": torch.ones(2), "b": torch.ones(3)}
    check_keys("a net", {"b": torch.zeros(3), "a": torch.zeros(2)}, expected)
    with pytest.raises(CheckpointError, match=r"not the weights of a net: 1 of its 2 tensors are missing \(b\)"):
        check_keys("a net", {"a": torch.ones(2)}, expected)
    with pytest.raises(CheckpointError, match=r"are unexpected \(c\)"):
        check_keys("a net", {**expected, "c": torch.ones(1)}, expected)
    with pytest.raises(CheckpointError, match=r"of another shape \(a \[3\] instead of \[2\]\)"):
        check_keys("a net", {**expected, "a": torch.ones(3)}, expected)
    with pytest.raises(CheckpointError, match=r"\(a, b, c and 1 more\)"):
        check_keys("a net", {}, dict.fromkeys("abcd", torch.ones(1)))
