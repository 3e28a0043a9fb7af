"""Images or vectors from .npy and .npz arrays, by stated rules on type, axes and range."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from equipoise.core.errors import DataError, nearest
from equipoise.data.files import check_members, natural_order
from equipoise.data.images import Filter, Fit, check_rules, fitted
from equipoise.data.source import ArraySource, tensor_source

PAIRS = {"images": "labels", "x": "y", "train_images": "train_labels", "x_train": "y_train", "arr_0": "labels"}
"""Names that are tried for the images of an .npz, in this order, each with the name of its labels."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601."""

MAX_ARRAY_BYTES = 64 * 2**30

ValueRange = tuple[float, float] | Literal["any"]
"""What the values of an array may be: the ends of a range that becomes [-1, 1], or anything."""

REMEDY = 'say what they mean by data.range = [low, high], or let them be measured by data.standardise = "range"'


def array(
    path: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    fit: Fit = "crop",
    filter: Filter = "auto",
    value_range: ValueRange | None = None,
    part: str | None = None,
    images_key: str | None = None,
    labels_key: str | None = None,
) -> ArraySource:
    """The examples of an .npy or .npz file. Pickled objects are never read.

    - uint8 [N, H, W], [N, H, W, C] or [N, C, H, W] are images; the channel axis is the one of length 1 or 3.
    - Floats of these shapes are images too: all in [0, 1] (stretched to [-1, 1]) or all in [-1, 1] (kept).
    - Floats [N, D] are vectors and may have any range. All floats must be finite.
    - With a `value_range` (low, high), whole numbers and floats of any type become [-1, 1] linearly, held at its ends
      where they lie outside; a note says how many did. With "any" they are taken as they are, but for bytes of images.
    - In an .npz the images are called images, x, train_images, x_train or arr_0, and the labels accordingly labels, y,
      train_labels or y_train; `part` "test" asks for test_images or x_test; `images_key`, `labels_key` name others.
    - Labels are one whole number (or text) per example, of any values; they become classes 0 … K-1 in order.
    - Images that are not square, or not of `size` and `channels`, are brought there by the rules of `images.decode`.
    """
    path = Path(path)
    check_rules(size, channels, fit, filter)
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file. Expected an .npy or .npz file.")
    labels = None
    where = str(path)
    if path.suffix.lower() == ".npz":
        with _archive(path) as arrays:
            image_name, label_name = _keys(path, arrays, part, images_key, labels_key)
            where = f"{path}: {image_name}"
            values = _read(where, lambda: arrays[image_name])
            if label_name is not None:
                labels = _read(f"{path}: {label_name}", lambda: arrays[label_name])
    else:
        for option, given in (("part", part), ("images_key", images_key), ("labels_key", labels_key)):
            if given is not None:
                raise DataError(
                    f"{path} is a single array, so {option}={given!r} means nothing. Leave it out, or give an .npz."
                )
        # Mapped, so that a header that promises more than the file holds costs no memory.
        values = _read(where, lambda: np.load(path, allow_pickle=False, mmap_mode="r"))

    if len(values.shape) == 0 or len(values) < 2:
        raise DataError(f"{where} has shape {list(values.shape)}. Expected at least 2 examples along the first axis.")
    if values.size == 0:
        raise DataError(
            f"{where} has shape {list(values.shape)}: there are no pixels or values. Expected at least one."
        )
    if values.dtype.kind == "f":
        _refuse_not_finite(where, values)
    notes: tuple[str, ...] = ()
    if value_range is not None and values.dtype.kind in "iuf":
        if value_range != "any":
            values, notes = _mapped(values, *value_range)
        elif values.dtype != np.uint8 or values.ndim == 2:
            values = values.astype(np.float32)
    if values.ndim == 2 and values.dtype.kind == "f":
        tensor = torch.from_numpy(values.astype(np.float32))
    else:
        images = _channels_first(where, values)
        ends = (0, 255) if images.dtype == np.uint8 else (-1, 1)
        if images.dtype != np.uint8 and value_range is None:
            images = _in_range(where, images)
        elif images.dtype != np.uint8 and value_range == "any":
            ends = float(images.min()), float(images.max())
        tensor = torch.from_numpy(_resized(_recoloured(images, channels), size, fit, filter, ends))
    classes, numbers = _classes(path, labels, len(values))
    source = replace(tensor_source(path.name, tensor, numbers, classes=classes), notes=notes)
    return source if part is None else replace(source, name=f"{path.name} ({part})")


def _archive(path: Path) -> np.lib.npyio.NpzFile:
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive, max_bytes=MAX_ARRAY_BYTES)
        arrays = np.load(path, allow_pickle=False)
    except DataError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is not a readable .npz file ({reason}). Save it again.") from error
    assert isinstance(arrays, np.lib.npyio.NpzFile)
    return arrays


def _keys(
    path: Path, arrays: np.lib.npyio.NpzFile, part: str | None, images_key: str | None, labels_key: str | None
) -> tuple[str, str | None]:
    """The names of the images and of their labels, if any."""
    present = arrays.files
    for option, key in (("images_key", images_key), ("labels_key", labels_key)):
        if key is not None and key not in present:
            raise DataError(f"{path} has no array for {option}={key!r}. {nearest(key, present)}")
    pairs: Mapping[str, str] = PAIRS
    if part is not None:
        pairs = {f"{part}_images": f"{part}_labels", f"x_{part}": f"y_{part}"}
    found = [name for name in pairs if name in present]
    if images_key is None and not found:
        if part is not None:
            hint = nearest(f"{part}_images", present)
            raise DataError(f"{path} has no part {part!r} (tried {', '.join(pairs)}). {hint}")
        if len(present) != 1:
            raise DataError(
                f"{path} holds the arrays {', '.join(present) or '(none)'}. Expected the images under "
                f"{', '.join(pairs)}. Rename the array, or save it alone (in a program: images_key=…)."
            )
        return present[0], None
    images_key = images_key or found[0]
    if labels_key is None:
        paired = [pairs[images_key]] if images_key in pairs else []
        candidates = paired if part is not None else [*paired, "labels", "y", "train_labels"]
        labels_key = next((name for name in candidates if name in present and name != images_key), None)
    return images_key, labels_key


def _read(where: str, load: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        values = load()
    except Exception as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise DataError(
                f"{where} holds Python objects, which are never loaded because that can run code. "
                "Expected numbers; save np.stack(...).astype(np.uint8) instead of a list of arrays."
            ) from error
        raise DataError(f"{where} cannot be read ({type(error).__name__}: {error}). Save it again.") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"{where} is not an array. Save it with np.save or np.savez.")
    return values


def _channels_first(where: str, values: np.ndarray) -> np.ndarray:
    shape = list(values.shape)
    if values.dtype != np.uint8 and values.dtype.kind != "f":
        raise DataError(
            f"{where} holds {values.dtype} values of shape {shape}. Expected uint8 in 0..255, or floats in [-1, 1]. "
            f"Convert them, as with array.astype(np.uint8) where they are 0..255 already; or {REMEDY}."
        )
    what = f"{where} has shape {shape}"
    axes = "Expected [N, H, W], [N, H, W, C] or [N, C, H, W] with C = 1 or 3."
    if values.ndim == 3:
        return values[:, None]
    if values.ndim != 4:
        hint = " (vectors [N, D] have to be floats)" if values.ndim == 2 else ""
        raise DataError(f"{what}. {axes}{hint} Reshape the array.")
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first and last:
        raise DataError(f"{what}: axis 1 and axis 3 may both be the channels. {axes} Grey images need no channel axis.")
    if not first and not last:
        raise DataError(f"{what}: no axis of 1 or 3 channels. {axes} Drop an alpha channel with array[..., :3].")
    return values if first else values.transpose(0, 3, 1, 2)


def _refuse_not_finite(where: str, values: np.ndarray) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        first = [int(index) for index in np.unravel_index(int(finite.argmin()), finite.shape)]
        raise DataError(
            f"{where} holds {np.count_nonzero(~finite)} values that are not finite, the first at index {first}. "
            "Expected finite numbers. Repair or remove these examples."
        )


def _in_range(where: str, images: np.ndarray) -> np.ndarray:
    low, high = float(images.min()), float(images.max())
    if low < -1 or high > 1:
        raise DataError(
            f"{where} has floats from {low:g} to {high:g}. Expected all in [0, 1] or all in [-1, 1]. "
            f"Divide by the largest possible value, or save uint8; or {REMEDY}."
        )
    images = images.astype(np.float32)
    return images * 2 - 1 if low >= 0 else images


def _mapped(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers from [low, high] to [-1, 1], float32, and what there is to say of those outside."""
    if not low < high:
        raise DataError(f"The range of values is [{low:g}, {high:g}]. Expected a lower end below the upper one.")
    mapped, num_outside = np.empty(values.shape, np.float32), 0
    for begin in range(0, len(values), 256):  # in double precision, which all at once would need much memory
        some = values[begin : begin + 256].astype(np.float64)
        num_outside += np.count_nonzero((some < low) | (some > high))
        mapped[begin : begin + 256] = ((some - low) * (2 / (high - low)) - 1).clip(-1, 1)
    note = f"{num_outside:,} of {values.size:,} values lie outside of [{low:g}, {high:g}] and were clipped"
    return mapped, (note,) if num_outside else ()


def _recoloured(images: np.ndarray, channels: int | None) -> np.ndarray:
    if channels in (None, images.shape[1]):
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    if images.dtype == np.uint8:
        return np.stack([np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))[None] for image in images])
    return np.tensordot(images, np.array(LUMA, np.float32), axes=(1, 0))[:, None]


def _resized(images: np.ndarray, size: int | None, fit: Fit, filter: Filter, ends: tuple[float, float]) -> np.ndarray:
    """Square images, whose values stay between the ends; the lower one is black."""
    num, channels, height, width = images.shape
    side = size or min(height, width)
    if height == width == side:
        return np.array(images, order="C")  # a copy: the file may be mapped
    # One plane at a time: Pillow has no colour images of floats, and for bytes the result is the same.
    resized = np.empty((num, channels, side, side), images.dtype)
    for example in range(num):
        for channel in range(channels):
            plane = Image.fromarray(np.ascontiguousarray(images[example, channel]))
            resized[example, channel] = np.asarray(fitted(plane, side, fit, black=ends[0], filter=filter))
    return resized if images.dtype == np.uint8 else resized.clip(*ends)  # the filters overshoot


def _classes(path: Path, labels: np.ndarray | None, num: int) -> tuple[tuple[str, ...], torch.Tensor | None]:
    if labels is None:
        return (), None
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iubU":
        raise DataError(
            f"{path}: the labels are {labels.dtype} of shape {list(labels.shape)}. "
            "Expected one whole number per example, [N]. Convert them, "
            "as with labels.argmax(axis=1) for one-hot rows or labels.astype(int)."
        )
    if len(labels) != num:
        raise DataError(
            f"{path}: {len(labels)} labels for {num} examples. Expected one each; "
            "save those that belong together as images and labels (in a program: images_key=…, labels_key=…)."
        )
    values, numbers = np.unique(labels, return_inverse=True)
    names = [str(value) for value in values.tolist()]
    if labels.dtype.kind == "U":
        order = sorted(range(len(names)), key=lambda index: natural_order(names[index]))
        names, numbers = [names[index] for index in order], np.argsort(order)[numbers]
    return tuple(names), torch.from_numpy(numbers.astype(np.int64))
