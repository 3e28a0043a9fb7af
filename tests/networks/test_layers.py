"""Shared parts: sizes, class conditioning, the critic's head, normalisation, initial weights, recalibration."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from equipoise.networks.layers import (
    ConditionalNorm,
    CriticHead,
    LabelPlanes,
    PixelNorm,
    check_dropout,
    crop_to,
    orthogonal_,
    recalibrate,
    start_and_doublings,
    wrap_for,
)


@pytest.mark.parametrize("size", range(8, 257))
def test_a_start_of_4_to_7_pixels_doubles_to_at_least_the_size_and_not_much_more(size: int):
    start, doublings = start_and_doublings(size)
    assert 4 <= start <= 7
    assert start * 2**doublings - size in range(2**doublings)


def test_conditional_batch_norm_is_the_gain_and_bias_of_the_class_after_batch_norm():
    torch.manual_seed(0)
    norm = ConditionalNorm(3, num_classes=4)
    nn.init.normal_(norm.gain.weight)
    nn.init.normal_(norm.bias.weight)
    x, labels = torch.randn(6, 3, 5, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1, 0])
    mean = x.mean((0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    gain, bias = norm.gain.weight.double()[labels], norm.bias.weight.double()[labels]
    expected = gain[:, :, None, None] * (x - mean) / (var + 1e-5).sqrt() + bias[:, :, None, None]
    torch.testing.assert_close(norm(x.float(), labels), expected.float(), atol=1e-5, rtol=1e-5)


def test_conditional_batch_norm_starts_as_plain_batch_norm():
    x, labels = torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(ConditionalNorm(3, num_classes=3)(x, labels), nn.BatchNorm2d(3)(x))
    torch.testing.assert_close(ConditionalNorm(3)(x), nn.BatchNorm2d(3)(x))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 3)])
def test_pixel_norm_gives_every_feature_vector_a_mean_square_of_one(shape: tuple[int, ...]):
    x = torch.tensor([3.0, 4.0]).view(1, 2, *[1] * (len(shape) - 1)).expand(1, *shape)  # mean square (9 + 16) / 2
    y = PixelNorm()(x)
    torch.testing.assert_close(y, x / 12.5**0.5)
    assert PixelNorm()(torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]
    assert PixelNorm()(x.bfloat16()).dtype == torch.bfloat16


def test_pixel_norm_has_two_derivatives():
    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(PixelNorm(), (x,))
    assert torch.autograd.gradgradcheck(PixelNorm(), (x,))


@pytest.mark.parametrize("normalisation", ["pixel", "none"])
def test_a_gain_and_a_bias_per_class_go_with_any_normalisation(normalisation):
    norm = ConditionalNorm(2, num_classes=3, normalisation=normalisation)
    nn.init.constant_(norm.gain.weight[2], 5.0)
    nn.init.constant_(norm.bias.weight[2], -1.0)
    x = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    scale = 12.5**0.5 if normalisation == "pixel" else 1.0
    assert norm(x, torch.tensor([0])).flatten().tolist() == pytest.approx([3 / scale, 4 / scale])
    assert norm(x, torch.tensor([2])).flatten().tolist() == pytest.approx([15 / scale - 1, 20 / scale - 1])


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 2.0])
def test_a_dropout_that_leaves_nothing_is_refused(dropout: float):
    with pytest.raises(ValueError, match="expected the share of features that are dropped, from 0 to below 1"):
        check_dropout(dropout)


def test_the_projection_head_adds_the_inner_product_with_the_class():
    head: Any = CriticHead(5, 3, "projection", wrap_for("none"))
    h, labels = torch.randn(4, 5), torch.tensor([2, 0, 1, 2])
    embedding, weight, bias = head.embedding.weight.tolist(), head.logit.weight[0].tolist(), head.logit.bias.tolist()[0]
    expected = [
        sum((e + w) * value for e, w, value in zip(embedding[y], weight, row)) + bias
        for row, y in zip(h.tolist(), labels.tolist())
    ]
    logits, classes = head(h, labels)
    assert logits.tolist() == pytest.approx(expected, abs=1e-5)
    assert classes is None


def test_the_auxiliary_head_scores_every_class_and_leaves_the_logit_alone():
    head: Any = CriticHead(5, 3, "auxiliary", wrap_for("none"))
    h = torch.randn(4, 5)
    logits, classes = head(h, None)
    torch.testing.assert_close(logits, head.logit(h)[:, 0])
    torch.testing.assert_close(classes, h @ head.classes.weight.T + head.classes.bias)


@pytest.mark.parametrize("by", ["none", "projection", "auxiliary", "concatenation"])
def test_a_head_answers_in_float32_under_autocast(by):
    head = CriticHead(8, 3, by, wrap_for("none"))
    h, labels = torch.randn(4, 8), torch.tensor([0, 1, 2, 0])
    with torch.autocast("cpu", torch.bfloat16):
        logits, classes = head(h.bfloat16(), labels)
    expected, _ = head(h.bfloat16().float(), labels)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)
    assert classes is None or classes.dtype == torch.float32


def test_label_planes_are_one_more_channel_that_belongs_to_the_class():
    planes = LabelPlanes(3, 4)
    x = torch.randn(3, 2, 4, 4)
    y = planes(x, torch.tensor([1, 1, 2]))
    assert torch.equal(y[:, :2], x)
    assert torch.equal(y[0, 2], y[1, 2])
    assert torch.equal(y[0, 2].flatten(), planes.planes.weight[1])
    assert not torch.equal(y[0, 2], y[2, 2])


@pytest.mark.parametrize(("have", "want", "first"), [(8, 8, 0), (8, 6, 1), (9, 6, 1), (112, 100, 6)])
def test_cropping_keeps_the_middle(have: int, want: int, first: int):
    x = torch.arange(have)[None, None, None].expand(1, 1, have, have)
    assert crop_to(x, want)[0, 0, 0].tolist() == list(range(first, first + want))
    assert crop_to(x, want).shape == (1, 1, want, want)


# Spectral normalisation


def spectral_layers() -> list[tuple[Any, Tensor]]:
    wrap = wrap_for("spectral")
    torch.manual_seed(0)
    return [
        (wrap(nn.Linear(12, 7)), torch.randn(3, 12)),
        (wrap(nn.Conv2d(3, 8, 4, 2, 1)), torch.randn(2, 3, 8, 8)),
        (wrap(nn.Embedding(5, 9)), torch.tensor([0, 3])),
    ]


@pytest.mark.parametrize("number", range(3))
def test_the_largest_singular_value_tends_to_one(number: int):
    layer, x = spectral_layers()[number]
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(40)
    for _ in range(300):
        layer(x)
    assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("number", range(3))
def test_spectral_normalisation_changes_no_buffer_in_eval_mode(number: int):
    layer, x = spectral_layers()[number]
    before = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    assert before
    layer.eval()
    layer(x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())
    layer.train()
    layer(x)
    assert not all(torch.equal(buffer, before[name]) for name, buffer in layer.named_buffers())


# Initial weights


@pytest.mark.parametrize("normalisation", ["none", "spectral"])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(normalisation):
    wrap = wrap_for(normalisation)
    layers: list[Any] = [wrap(nn.Linear(12, 7)), wrap(nn.Conv2d(2, 30, 3)), wrap(nn.Conv2d(4, 5, 1))]
    orthogonal_(nn.Sequential(*layers))
    for layer in layers:
        original = layer.parametrizations.weight.original if normalisation == "spectral" else layer.weight
        w = original.detach().flatten(1)
        gram = w @ w.T if len(w) <= w.shape[1] else w.T @ w
        torch.testing.assert_close(gram, torch.eye(len(gram)), atol=1e-5, rtol=0)
        torch.testing.assert_close(layer.weight.detach().flatten(1).svd().S.max(), torch.tensor(1.0), atol=1e-4, rtol=0)
        assert not layer.bias.any()


# Recalibration


def test_recalibration_with_one_batch_gives_exactly_its_statistics():
    norm = nn.BatchNorm1d(3, momentum=0.01)
    x = torch.randn(16, 3) * 4 + 7
    for _ in range(5):
        norm(torch.randn(8, 3))
    recalibrate(norm, [x])
    torch.testing.assert_close(norm.running_mean, x.mean(0))
    torch.testing.assert_close(norm.running_var, x.var(0))


def test_recalibration_averages_the_statistics_of_all_batches():
    network: Any = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(0.5))
    batches = [torch.randn(4, 1, 3, 3) * k for k in (1, 2, 3)]
    recalibrate(network, iter(batches))
    hidden = [network[0](x).detach() for x in batches]
    mean = sum(h.mean((0, 2, 3)) for h in hidden) / 3
    var = sum(h.transpose(0, 1).flatten(1).var(1) for h in hidden) / 3
    torch.testing.assert_close(network[1].running_mean, mean)
    torch.testing.assert_close(network[1].running_var, var)


def test_recalibration_makes_evaluation_agree_with_training():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2), nn.BatchNorm1d(2))
    x = torch.randn(2000, 3)
    expected = network(x)
    recalibrate(network, [x])
    torch.testing.assert_close(network.eval()(x), expected, atol=2e-3, rtol=2e-3)  # n against n - 1


def test_recalibration_leaves_all_but_the_statistics_as_it_was():
    torch.manual_seed(0)
    network: Any = nn.Sequential(wrap_for("spectral")(nn.Linear(3, 4)), nn.BatchNorm1d(4, momentum=0.3), nn.Dropout())
    network[2].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    recalibrate(network, [torch.randn(8, 3)])
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert network[1].momentum == 0.3
    assert [module.training for module in network] == [True, True, False]
    assert network.training


def test_recalibration_passes_several_arguments():
    norm: Any = ConditionalNorm(2)
    recalibrate(norm, [(torch.ones(2, 2, 1, 1), torch.tensor([0, 1]))])
    assert norm.norm.running_mean.tolist() == [1, 1]


def test_recalibration_asks_for_no_batch_where_there_is_nothing_to_do():
    recalibrate(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)), iter([]))


def test_recalibration_without_batches_is_refused_and_changes_nothing():
    norm: Any = nn.BatchNorm1d(2)
    norm(torch.randn(8, 2))
    before = norm.running_mean.clone()
    with pytest.raises(ValueError, match="expected at least one batch"):
        recalibrate(norm, [])
    assert torch.equal(norm.running_mean, before)
    assert norm.momentum == 0.1
    assert norm.training
