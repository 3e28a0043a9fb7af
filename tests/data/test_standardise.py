"""Standardised sources: what is measured, what becomes of the values, the way back, and arrays of any range."""

import json

import numpy as np
import pytest
import torch

from equipoise.core.errors import DataError
from equipoise.data import array, open_source, subset, tensor_source
from equipoise.data import standardise as module
from equipoise.data.digits import digits
from equipoise.data.standardise import Standard, between, measured, standardised

VECTORS = torch.tensor([[0.0, 5.0, -1000.0], [10.0, 5.0, 3000.0], [20.0, 5.0, 1000.0], [30.0, 5.0, 1000.0]])


def every(source):
    return source.examples(torch.arange(len(source)))


# What is measured


def test_range_brings_the_ends_of_each_coordinate_to_minus_one_and_one():
    source = tensor_source("v", VECTORS)
    x = every(standardised(source, measured(source, "range")))
    assert x[:, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert x[:, 2].tolist() == [-1, 1, 0, 0]


def test_mean_std_gives_each_coordinate_mean_zero_and_deviation_one():
    source = tensor_source("v", VECTORS)
    standard = measured(source, "mean-std")
    assert standard.shift.tolist() == [15, 5, 1000]
    assert standard.scale.tolist() == pytest.approx([125**0.5, 1, 2_000_000**0.5])  # deviations of the population
    x = every(standardised(source, standard))
    assert x[:, 0].tolist() == pytest.approx([y / 125**0.5 for y in (-15, -5, 5, 15)])


def test_a_coordinate_that_never_changes_is_shifted_to_zero_not_scaled_and_named():
    source = tensor_source("v", VECTORS)
    for how in ("range", "mean-std"):
        view = standardised(source, measured(source, how))
        assert every(view)[:, 1].tolist() == [0, 0, 0, 0]
        assert view.by.scale[1] == 1
        assert view.notes == (
            "the same in all training examples, and only shifted to 0 by data.standardise: coordinate 1",
        )


def test_images_are_measured_by_channel():
    values = torch.stack([torch.arange(8.0).view(2, 2, 2), torch.full((2, 2, 2), 100.0)], dim=1)  # [N, C, H, W]
    source = tensor_source("i", values)
    standard = measured(source, "range")
    assert (standard.shift.tolist(), standard.scale.tolist()) == ([3.5, 100], [3.5, 1])
    assert "channel 1" in standard.notes[0]
    assert every(standardised(source, standard))[0, 0].flatten().tolist() == pytest.approx(
        [(i - 3.5) / 3.5 for i in range(4)]
    )


def test_measuring_in_chunks_is_measuring_all_at_once(monkeypatch):
    # A mean a thousand times the deviation: sums of squares in single precision would lose half of the digits.
    x = 1000 + torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    source = tensor_source("v", x)
    monkeypatch.setattr(module, "CHUNK", 21)  # seven examples
    standard = measured(source, "mean-std")
    assert torch.allclose(standard.shift.double(), x.double().mean(0), rtol=1e-7)
    assert torch.allclose(standard.scale.double(), x.double().std(0, unbiased=False), rtol=1e-6)
    assert (standard.low, standard.high) == (x.min().item(), x.max().item())
    whole = measured(subset(source, torch.arange(999), name="v"), "range")
    assert torch.allclose(whole.scale, (x[:999].amax(0) - x[:999].amin(0)) / 2)


def test_images_beyond_the_measured_range_are_held_at_its_ends_and_vectors_are_not():
    values = torch.tensor([0.0, 10, 5])
    for shape, expected in (((1, 1, 1), [-1, 1, -1]), ((1,), [-5, 7, -1.4])):
        standard = measured(tensor_source("x", values.view(3, *shape)), "range")
        standard = Standard.from_json(standard.to_json())
        assert standard.forward(torch.tensor([-20.0, 40, -2]).view(3, *shape)).flatten().tolist() == pytest.approx(
            expected
        )
    assert between(0, 10).forward(torch.tensor([[11.0]])).item() == 1
    assert between(0, 10).shown(torch.tensor([[11.0]])).item() == pytest.approx(1.2)


# The view, and the way back


def test_there_and_back_is_the_same():
    source = tensor_source("v", VECTORS)
    for how in ("range", "mean-std"):
        view = standardised(source, measured(source, how))
        assert torch.allclose(view.by.inverse(every(view)), VECTORS, rtol=1e-6, atol=1e-3)


def test_a_standard_is_the_same_after_json():
    standard = measured(tensor_source("v", VECTORS / 3), "mean-std")
    again = Standard.from_json(json.loads(json.dumps(standard.to_json())))
    assert torch.equal(again.shift, standard.shift)
    assert torch.equal(again.scale, standard.scale)
    assert (again.low, again.high, again.notes) == (standard.low, standard.high, standard.notes)


@pytest.mark.parametrize(
    "damage", [{"scale": [0.0] * 3}, {"scale": [1.0]}, {"shift": [float("nan")] * 3}, {"shift": "x"}, {"low": None}]
)
def test_a_damaged_standard_is_no_standard(damage):
    content = measured(tensor_source("v", VECTORS), "range").to_json() | damage
    with pytest.raises((ValueError, TypeError)):
        Standard.from_json(content)


def test_the_view_knows_what_the_source_knows_and_has_a_fingerprint_of_its_own():
    source = digits()
    standard = measured(source, "range")
    view, other = standardised(source, standard), standardised(source, between(0, 1))
    assert (len(view), view.shape, view.classes, view.name) == (len(source), source.shape, source.classes, source.name)
    assert torch.equal(view.labels(torch.arange(9)), source.labels(torch.arange(9)))
    assert len({source.fingerprint, view.fingerprint, other.fingerprint}) == 3
    assert view.fingerprint == standardised(digits(), measured(digits(), "range")).fingerprint
    assert view.to("meta").examples(torch.arange(2)).device.type == "meta"


def test_pictures_show_the_smallest_value_black_and_the_largest_white_in_all_channels():
    values = torch.stack([torch.tensor([0.0, 50.0]), torch.tensor([0.0, 100.0])], dim=1)[:, :, None, None]
    standard = measured(tensor_source("i", values), "range")
    assert standard.shown(values).flatten(1).tolist() == [[-1, -1], [0, 1]]  # the first channel stays the darker one
    vectors = measured(tensor_source("v", VECTORS), "range")
    assert torch.equal(vectors.shown(VECTORS), vectors.forward(VECTORS))


# Arrays of any range


def save(tmp_path, values):
    np.save(tmp_path / "set.npy", values)
    return tmp_path / "set.npy"


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.float16, np.float64])
def test_a_known_range_becomes_minus_one_to_one_and_what_was_clipped_is_counted(tmp_path, kind):
    hounsfield = np.array([-2000, -1000, 0, 1000, 2000, 3000, 3072, 1000], kind).reshape(2, 2, 2)
    source = array(save(tmp_path, hounsfield), value_range=(-1000, 3000))
    assert source.values.dtype == torch.float32
    assert every(source).flatten().tolist() == [-1, -1, -0.5, 0, 0.5, 1, 1, 0]
    assert source.notes == ("2 of 8 values lie outside of [-1000, 3000] and were clipped",)
    assert array(save(tmp_path, hounsfield), value_range=(-2000, 4000)).notes == ()


def test_a_known_range_holds_for_vectors_and_bytes_too(tmp_path):
    whole = np.array([[0, 100], [50, 200]], np.uint8)
    assert every(array(save(tmp_path, whole), value_range=(0, 100))).tolist() == [[-1, 1], [0, 1]]
    images = np.array([0, 51, 102, 204], np.uint8).reshape(2, 1, 2)
    source = array(save(tmp_path, images.repeat(2, axis=1)), value_range=(0, 204))
    assert source.values[:, 0, 0].tolist() == [[-1, -0.5], [0, 1]]
    with pytest.raises(DataError, match=r"\[1, 1\]. Expected a lower end below"):
        array(save(tmp_path, whole), value_range=(1, 1))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float64])
def test_any_values_are_taken_as_they_are(tmp_path, kind):
    values = np.arange(32).reshape(2, 4, 4).astype(kind) * 100
    assert np.array_equal(every(array(save(tmp_path, values), value_range="any"))[:, 0].numpy(), values)
    vectors = values.reshape(8, 4)
    assert np.array_equal(every(array(save(tmp_path, vectors), value_range="any")).numpy(), vectors)


def test_bytes_of_images_stay_bytes_where_anything_goes(tmp_path):
    values = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    assert array(save(tmp_path, values), value_range="any").values.dtype == torch.uint8


def test_resized_values_of_any_range_stay_within_it_and_padding_is_its_lower_end(tmp_path):
    values = (np.random.default_rng(0).random((2, 12, 8)) > 0.5) * 4000 - 1000
    source = array(save(tmp_path, values), size=6, value_range="any", fit="pad")
    assert (source.values.min().item(), source.values.max().item()) == (-1000, 3000)
    assert source.values[:, 0, :, 0].unique().tolist() == [-1000]


@pytest.mark.parametrize("values", [np.zeros((2, 4, 4), np.uint16), np.linspace(0, 255, 32).reshape(2, 4, 4)])
def test_the_refusal_of_other_values_names_the_remedy(tmp_path, values):
    with pytest.raises(DataError, match=r'data\.range = \[low, high\].*data\.standardise = "range"'):
        array(save(tmp_path, values))


def test_image_files_have_no_range_of_their_own(tmp_path):
    with pytest.raises(DataError, match=r"data\.range = \[0, 255\].*only the values of an \.npy"):
        open_source(tmp_path, value_range=(0, 255))
