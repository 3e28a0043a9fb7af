"""Objectives: pure functions on tensors, one value per example."""

from equipoise.objectives.adversarial import (
    Adversarial,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    relativistic_pairing,
    wasserstein,
)
from equipoise.objectives.classification import classification
from equipoise.objectives.penalties import Penalty, gradient_penalty, r1, r2, slope, squared_norm

__all__ = [
    "Adversarial",
    "Penalty",
    "classification",
    "gradient_penalty",
    "hinge",
    "least_squares",
    "minimax",
    "non_saturating",
    "r1",
    "r2",
    "relativistic_pairing",
    "slope",
    "squared_norm",
    "wasserstein",
]
