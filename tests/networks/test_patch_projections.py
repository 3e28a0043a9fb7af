"""Heads that take places of feature maps into a space of their own."""

import pytest
import torch

from equipoise.networks.projections import Projections


def test_each_layer_has_a_head_of_its_own_and_places_do_not_see_each_other():
    heads = Projections((3, 5), width=4)
    layers = [torch.randn(2, 6, 3), torch.randn(2, 7, 5)]
    first, second = heads(layers)
    assert (first.shape, second.shape) == ((2, 6, 4), (2, 7, 4))
    torch.testing.assert_close(heads([layers[0][:, 2:3], layers[1]])[0], first[:, 2:3])
    assert heads.heads[0][2](torch.relu(heads.heads[0][0](layers[0]))).equal(first)


def test_places_of_other_layers_than_there_are_heads_are_refused():
    with pytest.raises(ValueError, match="num_layers=0"):
        Projections(())
    with pytest.raises(ValueError, match="shorter"):
        Projections((3, 5), width=4)([torch.zeros(1, 2, 3)])
