"""The compiled loops as a whole: compiling them ahead, and telling from numba's own counters what was compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any


def warm_up(progress: Callable[[str], None] | None = None) -> None:
    """Compile, or load from numba's cache, whatever a usual run meets, so that the first answer is quick.

    A usual city has at most 65 535 codes; one with more compiles its kernels when it is first met.

    Parameters
    ----------
    progress : callable, optional
        Told the name of each module of kernels before it is compiled or loaded.
    """
    for name in _modules_with_kernels():
        if progress is not None:
            progress(name)
        prepare = getattr(import_module(name), "warm_up", None)
        if prepare is not None:
            prepare()


def compilations() -> int:
    """How many kernels this process compiled because numba's cache did not hold them."""
    return sum(sum(kernel.stats.cache_misses.values()) for kernel in _kernels())


def _kernels() -> Iterator[Any]:
    """The kernels of the modules imported so far; one that is not imported has compiled nothing."""
    import sys

    from numba.core.dispatcher import Dispatcher

    for name in _modules_with_kernels():
        module = sys.modules.get(name)
        for kernel in vars(module).values() if module is not None else ():
            if isinstance(kernel, Dispatcher) and kernel.__module__ == name:
                yield kernel


def _modules_with_kernels() -> list[str]:
    """Modules of this package that name numba: told from their text, so that none is imported to find out."""
    package = import_module("features")
    names = [f"features.{module.name}" for module in iter_modules(package.__path__)]
    found = []
    for name in names:
        spec = find_spec(name)
        source = None if spec is None or spec.loader is None else spec.loader.get_source(name)  # type: ignore[attr-defined]
        if source is not None and "\nfrom numba import" in source:
            found.append(name)
    return found
