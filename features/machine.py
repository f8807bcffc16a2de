"""Instructions of the processor that numba does not offer by itself.

Not kernels but single instructions, so kernels of several files may use them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def prefetch(_context: Any, array: Any, _index: Any) -> Any:
    """Begin to fetch the cache line of ``array[index]``, which is to be written soon; changes nothing."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        flag = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, flag, flag, flag])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, flag(1), flag(3), flag(1)])  # to write, to be kept, data
        return context.get_dummy_value()

    return types.void(array, types.uint64), generate


@intrinsic
def word_at(_context: Any, letters: Any, _index: Any) -> Any:
    """The eight bytes that begin at ``letters[index]`` as one uint64, wherever they lie; all eight must be there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        word = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(letters, types.int64), generate
