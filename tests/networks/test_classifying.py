"""Critics that are classifiers: the logit of being real, noise while training alone, sizes of signals."""

import pytest
import torch

from equipoise.networks.classifying import ConvolutionalClassifier, DenseClassifier


def dense(**more):
    return DenseClassifier(64, 10, widths=(16, 8), **more)


def images(num=4, size=8):
    return torch.rand(num, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("network", [dense(), ConvolutionalClassifier(1, 10, width=4)], ids=["dense", "convolutional"])
def test_the_logit_is_that_of_a_fake_class_whose_score_is_0(network):
    x = images(size=8 if isinstance(network, DenseClassifier) else 12)
    verdict = network.eval()(x)
    assert verdict.classes.shape == (4, 10)
    with_fake = torch.cat([verdict.classes, torch.zeros(4, 1)], dim=1).softmax(1)
    assert torch.allclose(torch.sigmoid(verdict.logits), 1 - with_fake[:, -1], atol=1e-6)
    assert [f.shape for f in verdict.features] == [(4, 8)]


@pytest.mark.parametrize("network", [dense(), ConvolutionalClassifier(1, 10, width=4)], ids=["dense", "convolutional"])
def test_there_is_noise_while_training_and_none_afterwards(network):
    x = images(size=8 if isinstance(network, DenseClassifier) else 12)
    assert not torch.equal(network.train()(x).logits, network(x).logits)
    assert torch.equal(network.eval()(x).logits, network(x).logits)
    if isinstance(network, DenseClassifier):
        still = dense(noise=0, hidden_noise=0)
        assert torch.equal(still(x).logits, still(x).logits)


def test_scores_are_float32_within_narrow_formats():
    with torch.autocast("cpu", torch.bfloat16):
        verdict = dense()(images())
    assert verdict.logits.dtype == verdict.classes.dtype == torch.float32


def test_signals_keep_their_size_through_many_layers():
    network = DenseClassifier(784, 10, widths=(200, 200, 200, 200)).eval()
    features = network(images(32, 28)).features[0]
    assert 0.1 < features.square().mean() < 10
