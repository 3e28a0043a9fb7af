"""The 1,797 handwritten digits that ship with scikit-learn: real data without a download."""

import numpy as np
import torch

from equipoise.data.source import ArraySource, tensor_source


def digits() -> ArraySource:
    """Grey 8 x 8 images of the digits 0 to 9 (Alpaydin & Kaynak 1998), 16 grey levels spread over 0..255.

    >>> len(digits()), digits().shape, digits().classes[3]
    (1797, (1, 8, 8), '3')
    """
    # The import takes about a second: only who asks for the digits pays.
    from sklearn.datasets import load_digits

    grey, numbers = load_digits(return_X_y=True)
    pixels = np.round(grey * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return tensor_source(
        "digits",
        torch.from_numpy(pixels),
        torch.from_numpy(numbers.astype(np.int64)),
        classes=tuple("0123456789"),
    )
