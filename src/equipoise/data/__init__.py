"""Data as a function of an index: sources of examples, and the loader that draws from them by position."""

from equipoise.data.arrays import array
from equipoise.data.digits import digits
from equipoise.data.folders import folder
from equipoise.data.images import ImageError, decode
from equipoise.data.loader import Loader
from equipoise.data.open import open_source
from equipoise.data.source import ArraySource, Source, Split, Subset, split, subset, tensor_source
from equipoise.data.toy import Coverage, Mixture, grid, ring

__all__ = [
    "ArraySource",
    "Coverage",
    "ImageError",
    "Loader",
    "Mixture",
    "Source",
    "Split",
    "Subset",
    "array",
    "decode",
    "digits",
    "folder",
    "grid",
    "open_source",
    "ring",
    "split",
    "subset",
    "tensor_source",
]
