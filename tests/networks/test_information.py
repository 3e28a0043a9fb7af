"""Networks that read latents and codes from examples."""

import pytest
import torch
from torch.nn.functional import softplus

from equipoise.networks.information import CodeReader, Statistics

SHAPES = [(2,), (1, 1, 1), (1, 4, 4), (1, 8, 8), (3, 28, 28), (2, 5, 33), (3, 64, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_statistics_score_pairs_of_an_example_and_a_latent(shape: tuple[int, ...]):
    statistics = Statistics(shape, 5, width=4)
    x, z = torch.randn(3, *shape), torch.randn(3, 5)
    score = statistics(x, z)
    assert score.shape == (3,)
    assert not torch.equal(score, statistics(x, z.flip(0)))
    assert not torch.equal(score, statistics(x.flip(0), z))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("num_categories", "num_continuous"), [(4, 2), (4, 0), (0, 2)])
def test_a_code_reader_answers_scores_and_means(shape: tuple[int, ...], num_categories: int, num_continuous: int):
    code = CodeReader(shape, num_categories, num_continuous, width=4)(torch.randn(3, *shape))
    assert code.categories.shape == (3, num_categories)
    assert code.means.shape == (3, num_continuous)


def test_outputs_are_float32_under_autocast():
    x, z = torch.randn(3, 1, 8, 8).to(memory_format=torch.channels_last), torch.randn(3, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert Statistics((1, 8, 8), 5, width=4)(x, z).dtype == torch.float32
        code = CodeReader((1, 8, 8), 3, 1, width=4)(x)
    assert code.categories.dtype == code.means.dtype == torch.float32


def test_trained_statistics_tell_which_latent_an_example_came_from():
    statistics = Statistics((2,), 2, width=16)
    optimizer = torch.optim.Adam(statistics.parameters(), lr=5e-3)
    for _ in range(150):
        z = torch.randn(128, 2)
        x = z + 0.1 * torch.randn(128, 2)
        loss = softplus(-statistics(x, z)).mean() + softplus(statistics(x, z.roll(1, 0))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = torch.randn(1000, 2)
    assert (statistics(z, z) > statistics(z, z.roll(1, 0))).float().mean() > 0.9


def test_a_reader_of_nothing_and_an_impossible_shape_are_refused():
    with pytest.raises(ValueError, match="expected at least one category or continuous code"):
        CodeReader((2,), 0, 0)
    with pytest.raises(ValueError, match=r"shape=\(3, 4\) was passed: expected \(C, H, W\) or \(D,\)"):
        Statistics((3, 4), 2)
