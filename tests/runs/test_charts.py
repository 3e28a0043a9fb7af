"""The drawings of pages: what stands beside their axes."""

import re

import numpy as np

from equipoise.runs.charts import _short, points_chart


def test_numbers_at_an_axis_are_short():
    assert [_short(value) for value in (2e-4, -1.5e-5, 1e-7, 0.0, 0.001, 0.25, 1500, 2e6)] == [
        "2e-4",
        "-1.5e-5",
        "1e-7",
        "0",
        "0.001",
        "0.25",
        "1.5k",
        "2M",
    ]


def test_learning_rates_at_an_axis_are_few_and_do_not_run_together():
    chart = points_chart("players.D.learning_rate", "", np.linspace(1e-4, 1.9e-3, 10), np.linspace(1.0, 2.0, 10))
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    below = [label for label in labels if label != "0" and float(label) < 0.01]
    assert 3 <= len(below) <= 6
    assert max(map(len, below)) <= 6
