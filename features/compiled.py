"""The compiled loops as a whole: compiling them ahead, and telling from numba's own counters what was compiled."""

from __future__ import annotations


def warm_up() -> None:
    """Compile, or load from numba's cache, the usual variants of every kernel, so that the first answer is quick."""
    from features import kernels, regrouping

    kernels.warm_up()
    regrouping.warm_up()
