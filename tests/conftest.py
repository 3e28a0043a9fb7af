"""Tests that compare bits pin one thread and deterministic algorithms; so all do."""

import pytest
import torch


@pytest.fixture(autouse=True)
def reproducible():
    """One thread, deterministic algorithms, and a global random state that no test inherits from another."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(False)
