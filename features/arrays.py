"""Small agreements about arrays that the readers, the kernels and their callers share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DAY_US = 86_400_000_000
"""µs in a day."""


def frozen(array: Any) -> Any:
    """A read-only, contiguous view of an array, which is what the kernels are compiled for."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array itself, which nobody can write to any more."""
    array.flags.writeable = False
    return array
