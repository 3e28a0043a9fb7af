"""How codes that nobody named agree with classes: a pure function of a table of counts."""

from typing import NamedTuple

from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor


class Agreement(NamedTuple):
    """How a table of codes and classes agrees where each code stands for the class that fits all of them best."""

    share: float
    """Of the examples, in [0, 1]."""
    classes: tuple[int | None, ...]
    """The class that each code stands for; None for one of more codes than classes."""


def matched(table: Int[Tensor, "k c"]) -> Agreement:
    """The best one-to-one matching of codes and classes, for counts [K, C] of examples of each code and class.

    max over matchings m of Σₖ table[k, m(k)] / Σ table: the accuracy of clusters. Of C equally frequent classes and
    codes that say nothing it is near 1/C, a little above by the choice. Raises ValueError for a table that is empty or
    has negative counts.
    Source: Kuhn 1955, The Hungarian Method; as the accuracy of clusters: Yang et al. 2010.

    >>> matched(torch.tensor([[0, 5], [4, 1]]))
    Agreement(share=0.9, classes=(1, 0))
    """
    if table.ndim != 2 or table.numel() == 0 or (table < 0).any() or table.sum() == 0:
        raise ValueError(
            f"A table of counts of shape {list(table.shape)} was passed: expected [codes, classes] with at least one "
            "example and no negative count."
        )
    rows, columns = linear_sum_assignment(table.cpu().numpy(), maximize=True)
    classes: list[int | None] = [None] * len(table)
    for row, column in zip(rows.tolist(), columns.tolist()):
        classes[row] = column
    return Agreement(int(table[rows, columns].sum()) / int(table.sum()), tuple(classes))


def counted(codes: Int[Tensor, "n"], classes: Int[Tensor, "n"], *, num_codes: int, num_classes: int) -> Tensor:
    """Examples of each code and class, int64 [K, C], from their numbers."""
    cells = codes.cpu() * num_classes + classes.cpu()
    return cells.bincount(minlength=num_codes * num_classes).view(num_codes, num_classes)
