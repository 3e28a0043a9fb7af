"""What is no tensor is refused in words before anything is computed with it."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from equipoise.metrics.checks import checked, checked_images, checked_labels, checked_vector
from equipoise.metrics.classes import inception_score
from equipoise.metrics.distribution import frechet_distance, kernel_distance


@pytest.mark.parametrize(
    "check",
    [
        lambda x: checked("real", x),
        lambda x: checked_vector("real", x),
        lambda x: checked_labels("real", x, 2),
        lambda x: checked_images("real", x),
    ],
)
@pytest.mark.parametrize(("value", "name"), [(np.zeros((2, 2)), "ndarray"), ([[1.0]], "list"), (None, "NoneType")])
def test_what_is_no_tensor_is_named(check, value, name):
    with pytest.raises(ValueError, match=f"real: a {name} was passed, but a torch.Tensor is expected. Use torch.as_t"):
        check(value)


def test_arrays_of_numpy_are_refused_by_the_metrics():
    x = np.random.default_rng(0).normal(size=(30, 4))
    for metric in (frechet_distance, kernel_distance):
        # Where the annotations are checked while testing, that check speaks first.
        with pytest.raises((ValueError, TypeCheckError), match=r"a torch\.Tensor is expected|Actual value"):
            metric(x, torch.from_numpy(x))
    with pytest.raises((ValueError, TypeCheckError), match=r"a torch\.Tensor is expected|Actual value"):
        inception_score(np.full((30, 4), 0.25))
