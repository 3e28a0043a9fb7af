"""What every metric asks of the features [N, D] and images [N, C, H, W] that it is given."""

import torch
from torch import Tensor

# Arithmetic in float32 may leave [-1, 1] by a little; another convention leaves it by much.
SLACK = 1e-3


def check_tensor(name: str, value: object) -> None:
    """Raise ValueError for anything but a tensor."""
    if not isinstance(value, Tensor):
        raise ValueError(
            f"{name}: a {type(value).__name__} was passed, but a torch.Tensor is expected. Use torch.as_tensor(x)."
        )


def checked(name: str, features: Tensor, *, minimum: int = 1) -> Tensor:
    """Features [N, D] without gradient in float64, or a ValueError: wrong shape, too few, not finite."""
    check_tensor(name, features)
    if features.ndim != 2:
        raise ValueError(
            f"{name}: features of shape {list(features.shape)} were passed, but [N, D] is expected. "
            "Use features.flatten(1), or a feature network for images."
        )
    if len(features) < minimum or features.shape[1] < 1:
        raise ValueError(
            f"{name}: features of shape {list(features.shape)} were passed, but at least {minimum} examples of at "
            "least 1 feature are expected. Pass more examples."
        )
    if not features.isfinite().all():
        bad = int((~features.isfinite()).any(1).sum())
        raise ValueError(
            f"{name}: {bad} of {len(features)} examples have features that are not finite, but all must be. "
            "Look for NaN or infinity in the examples, or leave those out."
        )
    return features.detach().double()


def checked_pair(real: Tensor, fake: Tensor, *, minimum: int = 1) -> tuple[Tensor, Tensor]:
    """Two sets of features of the same width, or a ValueError."""
    real, fake = checked("real", real, minimum=minimum), checked("fake", fake, minimum=minimum)
    check_same_width("real", real, "fake", fake)
    return real, fake


def check_same_width(name: str, features: Tensor, other_name: str, other: Tensor) -> None:
    """Raise ValueError unless both sets have the same number of features."""
    if features.shape[1] != other.shape[1]:
        raise ValueError(
            f"{name} has {features.shape[1]} features and {other_name} has {other.shape[1]}, but equal numbers are "
            "expected. Compute both with the same feature network."
        )


def checked_vector(name: str, values: Tensor, *, minimum: int = 1) -> Tensor:
    """Finite values [N] without gradient in float64, or a ValueError."""
    check_tensor(name, values)
    if values.ndim != 1 or len(values) < minimum:
        raise ValueError(
            f"{name}: values of shape {list(values.shape)} were passed, but [N] with N of at least {minimum} is "
            "expected. Pass one value per example."
        )
    if not values.isfinite().all():
        bad = int((~values.isfinite()).sum())
        raise ValueError(
            f"{name}: {bad} of {len(values)} values are not finite, but all must be. Look for NaN or infinity in the "
            "examples, or leave those out."
        )
    return values.detach().double()


def checked_labels(name: str, labels: Tensor, length: int, *, num_classes: int | None = None) -> Tensor:
    """Class numbers int64 [N], one for each of `length` examples, or a ValueError."""
    check_tensor(name, labels)
    if labels.shape != (length,) or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"{name}: {labels.dtype} of shape {list(labels.shape)} was passed, but integers of shape [{length}] are "
            "expected. Pass one class number per example; of class scores take scores.argmax(1)."
        )
    top = None if num_classes is None else num_classes - 1
    if length and (int(labels.min()) < 0 or (top is not None and int(labels.max()) > top)):
        raise ValueError(
            f"{name}: class numbers from {int(labels.min())} to {int(labels.max())} were passed, but 0 to "
            f"{'K - 1' if top is None else top} is expected. Count classes from 0."
        )
    return labels.detach().long()


def checked_images(name: str, images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] without gradient, or a ValueError. Their type is kept."""
    check_tensor(name, images)
    if images.ndim != 4 or 0 in images.shape or not images.is_floating_point():
        raise ValueError(
            f"{name}: {images.dtype} of shape {list(images.shape)} was passed, but at least one image as floats "
            "[N, C, H, W] in [-1, 1] is expected. Use x / 127.5 - 1 for 8-bit values, x[None] for a single image."
        )
    if not images.isfinite().all():
        bad = int((~images.isfinite()).flatten(1).any(1).sum())
        raise ValueError(
            f"{name}: {bad} of {len(images)} images hold NaN or infinity, but all values must be finite. "
            "Leave those images out."
        )
    low, high = (value.item() for value in torch.aminmax(images))
    if low < -1 - SLACK or high > 1 + SLACK:
        raise ValueError(
            f"{name}: values from {low:.4g} to {high:.4g} were passed, but [-1, 1] is expected. "
            "Use x.clamp(-1, 1) for what a network made, x / 127.5 - 1 for 8-bit values."
        )
    return images.detach()


def checked_image_pair(images: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Two sets of images of one shape, in float64, or a ValueError."""
    images, references = checked_images("images", images), checked_images("references", references)
    if images.shape != references.shape:
        raise ValueError(
            f"images of shape {list(images.shape)} and references of shape {list(references.shape)} were passed, but "
            "equal shapes are expected. Pass the reference of each image, in the same order and size."
        )
    return images.double(), references.double()


def check_at_least(minimum: float, **values: float) -> None:
    """Raise ValueError for any named setting below the minimum."""
    for name, value in values.items():
        if not value >= minimum:
            raise ValueError(f"{name}={value} was passed, but at least {minimum} is expected. Leave it out.")
