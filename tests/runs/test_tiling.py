"""Tiles: the answer is that of the whole picture where a network's reach is known, and has no seams elsewhere."""

import pytest
import torch

from equipoise.networks.denoiser import DnCNN
from equipoise.networks.fourier import FourierInpainter
from equipoise.networks.srresnet import SRResNet
from equipoise.networks.unet import UNet
from equipoise.runs.tiling import Fit, pyramid, starts, tiled


def fit_of(net):
    return Fit(net.reach, net.period, net.smallest)


def shaken(net):
    """Every parameter at random, so that no layer starts at 0."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


@pytest.mark.parametrize("size", [(70, 53), (33, 90), (64, 64)])
@pytest.mark.parametrize(
    ("make", "scale"),
    [
        (lambda: DnCNN(1, width=4, depth=4), 1),
        (lambda: SRResNet(1, scale=2, width=4, num_blocks=1), 2),
        (lambda: SRResNet(1, scale=2, width=4, num_blocks=1, staged=False), 2),
        (lambda: UNet(1, 1, width=4, depth=2, normalisation="batch"), 1),
    ],
    ids=["dncnn", "srresnet", "srresnet, at once", "unet"],
)
def test_tiles_give_the_answer_of_the_whole_picture(make, scale, size):
    net = shaken(make())
    x = torch.randn(1, 1, *size)
    seen = []

    def answer(part):
        seen.append(max(part.shape[2:]))
        return net(part)

    whole = net(x).detach()
    assert torch.allclose(tiled(answer, x, fit=fit_of(net), scale=scale, tile=16), whole, atol=1e-5)
    margin = -(-net.reach // net.period) * net.period
    assert max(seen) <= 16 + 2 * margin + net.smallest


def test_a_small_picture_is_answered_as_a_whole():
    seen = []
    x = torch.randn(1, 1, 16, 12)
    assert tiled(lambda part: seen.append(part.shape) or part, x, fit=Fit(3, 1, 1), tile=16) is x
    assert len(seen) == 1


@pytest.mark.parametrize("period", [1, 4])
def test_overlapping_tiles_cover_every_pixel_and_agree_where_their_answers_do(period):
    x = torch.randn(1, 2, 75, 41)
    y = tiled(lambda part: 2 * part, x, fit=Fit(None, period, 3), tile=16)
    assert torch.allclose(y, 2 * x, atol=1e-5)


def test_between_tiles_that_disagree_the_way_is_even():
    x = torch.zeros(1, 1, 16, 64)
    count = iter(range(100))
    y = tiled(lambda part: part + next(count), x, fit=Fit(None, 1, 1), tile=16)[0, 0, 8]
    assert y[0] == 0
    assert y.diff().abs().max() <= 2 / 8  # a step of one tile to the next, spread over half a tile


def test_a_network_that_sees_everything_is_blended():
    net = shaken(FourierInpainter(4, 3, width=8, num_downs=1, num_blocks=1))
    assert net.reach is None
    y = tiled(net, torch.rand(1, 4, 50, 40), fit=fit_of(net), tile=24)
    assert y.shape == (1, 3, 50, 40)
    assert y.isfinite().all()


def test_tiles_begin_at_multiples_and_end_with_the_picture():
    assert starts(40, 16, 1) == [0, 8, 16, 24]
    assert starts(41, 16, 4) == [0, 8, 16, 24, 28]
    assert pyramid(3, 2).tolist() == [[1, 1], [2, 2], [1, 1]]
