import numpy as np
import pytest
import torch

from equipoise.monitor.grids import grid, scatter


def test_every_pixel_becomes_a_square_of_its_value():
    images = torch.tensor([-1.0, 0.0, 1.0, 0.5]).reshape(1, 1, 2, 2)
    picture = grid(images, columns=1, zoom=5)
    tile = picture[2:-2, 2:-2, 0]
    assert tile.shape == (10, 10)
    assert tile[::5, ::5].tolist() == [[0, 128], [255, 191]]
    assert (tile[:5, :5] == 0).all()


def test_tiles_stand_in_reading_order_with_a_gap_between():
    images = torch.stack([torch.full((3, 2, 2), value) for value in (-1.0, 1.0, -1.0)])
    picture = grid(images, columns=2, zoom=1)
    assert picture.shape == (10, 10, 3)
    assert picture[2, 2].tolist() == [0, 0, 0]
    assert picture[2, 6].tolist() == [255, 255, 255]
    assert picture[6, 2].tolist() == [0, 0, 0]
    assert len({tuple(pixel) for pixel in picture[:, 4]}) == 1  # the gap


@pytest.mark.parametrize("size", [8, 16, 28, 32, 48, 64])
def test_small_images_are_well_visible(size: int):
    height, width, _ = grid(torch.zeros(64, 1, size, size)).shape
    assert 500 <= width <= 800
    assert height == width


def test_large_images_keep_their_size():
    assert grid(torch.zeros(4, 3, 512, 512)).shape == (1030, 1030, 3)


def test_values_outside_the_range_and_nan_are_clipped():
    images = torch.tensor([-9.0, 9.0, float("nan"), float("inf")]).reshape(4, 1, 1, 1)
    picture = grid(images, columns=4, zoom=1)
    assert picture[2, 2::3, 0].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 2, 8, 8), (0, 1, 8, 8)])
def test_what_is_no_batch_of_images_is_refused_with_its_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\]"):
        grid(torch.zeros(shape))


def test_scatter_has_axes_that_depend_on_the_reference_only():
    reference = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    far = scatter(torch.full((5, 2), 100.0), reference)
    none = scatter(torch.empty(0, 2), reference)
    assert far.shape == none.shape == (640, 640, 3)
    assert far.dtype == np.uint8
    inner = slice(100, 500)
    assert (far[inner, inner] == none[inner, inner]).all()
    assert (far != none).any()  # the points outside are counted


def test_scatter_shows_made_points_in_colour_and_real_ones_in_grey():
    reference = torch.rand(50, 2)
    inner = scatter(reference[:20], reference)[60:580, 70:600].astype(int)
    plain = scatter(torch.empty(0, 2), reference)[60:580, 70:600].astype(int)
    assert (np.ptp(inner, axis=2) > 60).any()
    assert np.ptp(plain, axis=2).max() < 30


def test_scatter_refuses_points_that_are_not_in_the_plane():
    with pytest.raises(ValueError, match=r"expected \[N, 2\]"):
        scatter(torch.zeros(4, 3), torch.zeros(4, 2))


def test_reference_points_that_are_not_numbers_are_left_out_of_a_scatter():
    reference, made = torch.tensor([[0.0, 0.0], [1.0, 1.0], [float("nan"), 2.0]]), torch.zeros(3, 2)
    assert np.array_equal(scatter(made, reference), scatter(made, reference[:2]))
    assert scatter(made, reference[2:]).shape == (640, 640, 3)
