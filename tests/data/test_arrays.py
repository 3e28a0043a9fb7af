"""Images and vectors from .npy and .npz: types, axes, ranges, keys, labels."""

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from equipoise.core.errors import DataError
from equipoise.data import array
from equipoise.data.images import fitted


def save(tmp_path: Path, values: np.ndarray) -> Path:
    np.save(tmp_path / "set.npy", values)
    return tmp_path / "set.npy"


def savez(tmp_path: Path, **arrays: np.ndarray) -> Path:
    np.savez(tmp_path / "set.npz", **arrays)
    return tmp_path / "set.npz"


def bytes_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((4, 8, 8), (1, 8, 8)), ((4, 8, 8, 3), (3, 8, 8)), ((4, 3, 8, 8), (3, 8, 8)), ((4, 8, 8, 1), (1, 8, 8))],
)
def test_the_channel_axis_is_found(tmp_path, shape, expected):
    values = bytes_of(*shape)
    source = array(save(tmp_path, values))
    assert source.shape == expected
    assert source.values.dtype == torch.uint8
    last = values if shape[-1] in (1, 3) or len(shape) == 3 else values.transpose(0, 2, 3, 1)
    assert np.array_equal(source.values.numpy().transpose(0, 2, 3, 1).reshape(last.shape), last)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4, 3, 8, 3), "axis 1 and axis 3 may both"),
        ((4, 8, 8, 4), "no axis of 1 or 3 channels.*alpha"),
        ((4, 8), "vectors .* have to be floats"),
        ((4, 2, 3, 8, 8), "Reshape"),
        ((1, 8, 8), "at least 2 examples"),
        ((), "at least 2 examples"),
        ((4, 0, 0), "no pixels"),
    ],
)
def test_other_shapes_are_refused(tmp_path, shape, words):
    with pytest.raises(DataError, match=words):
        array(save(tmp_path, np.zeros(shape, np.uint8)))


def test_floats_from_zero_to_one_are_stretched_and_signed_ones_are_kept(tmp_path):
    unsigned = np.linspace(0, 1, 32).reshape(2, 4, 4)
    assert array(save(tmp_path, unsigned)).examples(torch.arange(2)).flatten()[[0, -1]].tolist() == [-1, 1]
    signed = np.linspace(-1, 1, 32, dtype=np.float16).reshape(2, 4, 4)
    source = array(save(tmp_path, signed))
    assert source.values.dtype == torch.float32
    assert np.array_equal(source.values[:, 0].numpy(), signed.astype(np.float32))


def test_floats_of_another_range_are_refused_with_the_range(tmp_path):
    with pytest.raises(DataError, match=r"floats from 0 to 255. Expected all in \[0, 1\]"):
        array(save(tmp_path, np.linspace(0, 255, 32).reshape(2, 4, 4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 4)])
def test_the_first_value_that_is_not_finite_is_named(tmp_path, bad, shape):
    values = np.zeros(shape)
    values[3, 1] = bad
    with pytest.raises(DataError, match=r"not finite, the first at index \[3, 1"):
        array(save(tmp_path, values))


def test_vectors_may_have_any_range(tmp_path):
    values = np.random.default_rng(0).normal(0, 100, (10, 2))
    source = array(save(tmp_path, values))
    assert source.shape == (2,)
    assert np.array_equal(source.examples(torch.arange(10)).numpy(), values.astype(np.float32))


@pytest.mark.parametrize("kind", [np.int64, bool, np.uint16, np.complex64])
def test_other_types_are_refused_with_the_fix(tmp_path, kind):
    with pytest.raises(DataError, match=r"Expected uint8.*astype"):
        array(save(tmp_path, np.zeros((2, 4, 4), kind)))


def test_python_objects_are_refused_and_not_loaded(tmp_path):
    values = np.array([np.zeros(2), np.zeros(3)], dtype=object)
    np.save(tmp_path / "set.npy", values, allow_pickle=True)
    np.savez(tmp_path / "set.npz", images=values)
    for name in ("set.npy", "set.npz"):
        with pytest.raises(DataError, match="Python objects, which are never loaded"):
            array(tmp_path / name)


def test_a_header_that_promises_too_much_is_refused(tmp_path):
    path = save(tmp_path, np.zeros((2, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(2, 4, 4), }", b"(2, 4, 4" + b"0" * 3 + b"}"))
    with pytest.raises(DataError, match="cannot be read"):
        array(path)
    path = save(tmp_path, np.zeros((20000, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"(20000,", b"(99999,"))
    with pytest.raises(DataError, match="cannot be read"):
        array(path)


# Size and channels


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_bytes_are_resized_as_images_are(tmp_path, fit):
    values = bytes_of(2, 12, 9, 3)
    source = array(save(tmp_path, values), size=6, fit=fit)
    expected = np.asarray(fitted(Image.fromarray(values[1]), 6, fit)).transpose(2, 0, 1)
    assert np.array_equal(source.values[1].numpy(), expected)


def test_arrays_are_resized_by_the_filter_that_is_named(tmp_path):
    values = bytes_of(2, 8, 8)
    means = values.astype(float).reshape(2, 4, 2, 4, 2).mean((2, 4))
    for divisor in (1, 255):
        given = values if divisor == 1 else values / divisor
        x = array(save(tmp_path, given), size=4, filter="box").examples(torch.arange(2))
        assert np.allclose((x[:, 0].numpy() + 1) * 127.5, means, atol=1 if divisor == 1 else 1e-3)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_floats_are_resized_like_bytes_and_stay_in_range(tmp_path, fit):
    # Within the range both agree up to rounding; at its ends the filter overshoots and is held.
    values = bytes_of(2, 12, 9) // 2 + 64
    from_bytes = array(save(tmp_path, values), size=6, fit=fit).examples(torch.arange(2))
    from_floats = array(save(tmp_path, values / 255), size=6, fit=fit).examples(torch.arange(2))
    assert torch.allclose(from_bytes, from_floats, atol=0.015)
    extremes = (bytes_of(2, 12, 9) > 127).astype(np.float32)
    assert array(save(tmp_path, extremes), size=6, fit=fit).values.abs().max() <= 1


def test_what_is_not_square_becomes_square_by_its_shorter_side(tmp_path):
    assert array(save(tmp_path, bytes_of(2, 12, 9))).shape == (1, 9, 9)


def test_channels_are_changed_on_request(tmp_path):
    red = np.zeros((2, 4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert array(save(tmp_path, red), channels=1).values.unique().tolist() == [76]
    as_float = array(save(tmp_path, red / 255), channels=1).examples(torch.arange(2))
    assert torch.allclose(as_float, torch.tensor(2 * 0.299 - 1), atol=1e-6)
    assert array(save(tmp_path, bytes_of(2, 4, 4)), channels=3).shape == (3, 4, 4)


# Keys and labels


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("images", "labels"),
        ("x", "y"),
        ("train_images", "train_labels"),
        ("x_train", "y_train"),
        ("arr_0", "labels"),
        ("images", "y"),
    ],
)
def test_the_usual_names_are_found(tmp_path, images, labels):
    source = array(savez(tmp_path, **{images: bytes_of(3, 4, 4), labels: np.array([5, -2, 5])}))
    assert source.classes == ("-2", "5")
    assert source.labels(torch.arange(3)).tolist() == [1, 0, 1]


def test_an_archive_without_labels_is_unlabelled(tmp_path):
    assert array(savez(tmp_path, images=bytes_of(3, 4, 4))).classes == ()


def test_a_part_is_chosen_by_name(tmp_path):
    path = savez(
        tmp_path,
        train_images=bytes_of(5, 4, 4),
        train_labels=np.arange(5),
        test_images=bytes_of(2, 4, 4),
        test_labels=np.arange(2),
    )
    assert (len(array(path)), len(array(path, part="train")), len(array(path, part="test"))) == (5, 5, 2)
    assert array(path, part="test").classes == ("0", "1")
    with pytest.raises(DataError, match=r"no part 'tset'.*Did you mean 'test_images'"):
        array(path, part="tset")


def test_explicit_keys_are_used_and_unknown_ones_answered_with_the_nearest(tmp_path):
    path = savez(tmp_path, faces=bytes_of(3, 4, 4), ages=np.array([1, 2, 3]), images=bytes_of(9, 4, 4))
    source = array(path, images_key="faces", labels_key="ages")
    assert (len(source), source.classes) == (3, ("1", "2", "3"))
    with pytest.raises(DataError, match=r"images_key='face'. Did you mean 'faces'"):
        array(path, images_key="face")
    with pytest.raises(DataError, match=r"labels_key='age'. Did you mean 'ages'"):
        array(path, labels_key="age")


def test_a_single_array_of_any_name_is_taken_and_several_are_not_guessed(tmp_path):
    assert len(array(savez(tmp_path, faces=bytes_of(3, 4, 4)))) == 3
    with pytest.raises(DataError, match=r"holds the arrays faces, houses.*images_key="):
        array(savez(tmp_path, faces=bytes_of(3, 4, 4), houses=bytes_of(3, 4, 4)))


@pytest.mark.parametrize(("images", "other"), [("faces", "houses"), ("images", "labels")])
def test_what_a_recipe_cannot_set_is_said_to_belong_to_a_program(tmp_path, images, other):
    path = savez(tmp_path, **{images: bytes_of(3, 4, 4), other: np.arange(4)})
    with pytest.raises(DataError, match=r"save .*\(in a program: images_key=…"):
        array(path)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(4), "4 labels for 3 examples"),
        (np.zeros((3, 10)), "argmax"),
        (np.zeros(3), "astype"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, labels, words):
    with pytest.raises(DataError, match=words):
        array(savez(tmp_path, images=bytes_of(3, 4, 4), labels=labels))


def test_labels_may_be_a_column_or_text(tmp_path):
    assert array(savez(tmp_path, x=bytes_of(2, 4, 4), y=np.array([[7], [9]]))).classes == ("7", "9")
    source = array(savez(tmp_path, x=bytes_of(3, 4, 4), y=np.array(["c10", "c2", "c10"])))
    assert source.classes == ("c2", "c10")
    assert source.labels(torch.arange(3)).tolist() == [1, 0, 1]


@pytest.mark.parametrize("option", ["part", "images_key", "labels_key"])
def test_a_single_array_has_no_parts_or_keys(tmp_path, option):
    with pytest.raises(DataError, match=f"single array, so {option}="):
        array(save(tmp_path, bytes_of(2, 4, 4)), **{option: "test"})


# Files


def test_the_source_does_not_depend_on_the_file_any_more(tmp_path):
    path = save(tmp_path, np.zeros((2, 4, 4), np.uint8))
    source = array(path)
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(len(data) - 32)
        file.write(b"\xff" * 32)
    assert int(source.values.max()) == 0


def test_fingerprint_sees_pixels_and_labels(tmp_path):
    x, y = bytes_of(3, 4, 4), np.arange(3)
    prints = {array(savez(tmp_path, x=a, y=b)).fingerprint for a, b in [(x, y), (x[::-1], y), (x, y[::-1]), (x, y + 1)]}
    assert len(prints) == 4


def test_a_bomb_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros((70, 1024, 1024), np.uint8))
    with pytest.raises(DataError, match="zip bomb"):
        array(tmp_path / "bomb.npz")


def test_what_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images", b"hello")
    for name, data in (("a.npy", b""), ("b.npy", b"hello" * 10), ("c.npz", b"hello"), ("d.npy", b"PK\3\4" * 9)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=r"cannot be read|not a readable|Python objects"):
            array(tmp_path / name)
    with pytest.raises(DataError, match="not an array"):
        array(tmp_path / "set.npz")
    with pytest.raises(DataError, match="does not exist"):
        array(tmp_path / "missing.npy")


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 10**6),
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_give_a_source_or_the_typed_error(tmp_path_factory, compressed, changes, cut):
    folder = tmp_path_factory.getbasetemp()
    path = savez(folder, x=bytes_of(3, 4, 4), y=np.arange(3)) if compressed else save(folder, bytes_of(3, 4, 4))
    data = bytearray(path.read_bytes())
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(data[: cut % len(data)] if cut % 2 else data)
    with suppress(DataError):
        assert len(array(path)) >= 2
