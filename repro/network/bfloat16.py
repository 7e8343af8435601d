"""bfloat16 for numba, which has no such type: arrays hold it as uint16, and these two turn one into a float32 and back.

They are LLVM instructions by hand because numba widens integers to 64 bits in between, where a vector of 32-bit numbers
has to stay one.
"""

# mypy: ignore-errors

from functools import partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def wide(context, stored):
    """A bfloat16, held as uint16, is the upper half of a float32."""

    def extend(target, builder, signature, values):
        bits = builder.shl(builder.zext(values[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
        return builder.bitcast(bits, ir.FloatType())

    if stored == types.uint16:
        return types.float32(stored), extend
    return stored(stored), lambda target, builder, signature, values: values[0]


@intrinsic
def narrow(context, value, stored):
    """`value` as the type of `stored`; to bfloat16 rounded to nearest, ties to even, as torch rounds."""

    def cut(target, builder, signature, values):
        whole, constant = ir.IntType(32), partial(ir.Constant, ir.IntType(32))
        bits = builder.bitcast(values[0], whole)
        odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
        bits = builder.add(bits, builder.add(odd, constant(0x7FFF)))
        return builder.trunc(builder.lshr(bits, constant(16)), ir.IntType(16))

    if stored == types.uint16:
        return types.uint16(value, stored), cut
    return value(value, stored), lambda target, builder, signature, values: values[0]
