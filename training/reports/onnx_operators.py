"""Operators of torch that its ONNX exporter lacks, built from those that ONNX has.

Each function gets a graph context `g`, whose method `op` adds a node, and the operator's arguments as values of the
graph; it returns the values that stand for the results. Shapes may be unknown until the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.onnx import JitScalarType, symbolic_helper, symbolic_opset11  # type: ignore[attr-defined]  # the first is not listed
from torch.onnx.utils import register_custom_op_symbolic

OPSET = 20
LONGEST = 65_536  # places of the axis of a running maximum, at most
COMPLEX = 9  # torch's number of complex64
_DOUBLE = 11  # ONNX's number of float64
# Wichura (1988), algorithm AS 241: the inverse of the normal distribution to sixteen digits, numerator and denominator.
CENTRAL = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457, 13731.693765509461125,
     1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867, 5394.1960214247511077,
     687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
TAIL = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
FAR_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


def register() -> None:
    """Make the operators of this module known to the exporter."""
    function: Any
    for name, function in OPERATORS.items():
        register_custom_op_symbolic(f"aten::{name}", function, OPSET)


def _number(g: Any, value: float, like: Any) -> Any:
    """A constant of the type of `like`."""
    return g.op("CastLike", g.op("Constant", value_t=torch.tensor(value, dtype=torch.float64)), like)


def _axis(g: Any, *values: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(values, dtype=torch.int64))


def _running(g: Any, x: Any, dim: Any, choose: str) -> tuple[Any, Any]:
    """The largest (or least) value so far along an axis, by doubling; the places of these are not computed."""
    axis = _axis(g, symbolic_helper._get_const(dim, "i", "dim"))
    size = g.op("Gather", g.op("Shape", x), axis)
    result, shift = x, 1
    while shift < LONGEST:
        # The first values stand for those before the first: they change no maximum.
        stop = g.op("Max", g.op("Sub", size, _axis(g, shift)), _axis(g, 0))
        moved = g.op("Slice", result, _axis(g, 0), stop, axis)
        begin = g.op("Slice", result, _axis(g, 0), g.op("Min", size, _axis(g, shift)), axis)
        result = g.op(choose, result, g.op("Concat", begin, moved, axis_i=_constant(axis)))
        shift *= 2
    return result, g.op("Cast", result, to_i=7)


def _constant(value: Any) -> int:
    return int(symbolic_helper._node_get(value.node(), "value").reshape(-1)[0])


def cummax(g: Any, x: Any, dim: Any) -> tuple[Any, Any]:
    """torch.cummax, its first result only."""
    return _running(g, x, dim, "Max")


def cummin(g: Any, x: Any, dim: Any) -> tuple[Any, Any]:
    """torch.cummin, its first result only."""
    return _running(g, x, dim, "Min")


def searchsorted(g: Any, grid: Any, values: Any, *_: Any) -> Any:
    """torch.searchsorted in a grid of one axis: how many of its entries are less."""
    is_below = g.op("Less", grid, g.op("Unsqueeze", values, _axis(g, -1)))
    return g.op("ReduceSum", g.op("Cast", is_below, to_i=7), _axis(g, -1), keepdims_i=0)


def _ratio(g: Any, x: Any, polynomials: Sequence[Sequence[float]]) -> Any:
    """The ratio of two polynomials of x, their coefficients from the highest power on."""
    parts = []
    for coefficients in polynomials:
        value = _number(g, coefficients[0], x)
        for coefficient in coefficients[1:]:
            value = g.op("Add", g.op("Mul", value, x), _number(g, coefficient, x))
        parts.append(value)
    return g.op("Div", *parts)


def special_ndtri(g: Any, p: Any) -> Any:
    """torch.special.ndtri for probabilities between 0 and 1."""
    centred = g.op("Sub", p, _number(g, 0.5, p))
    square = g.op("Mul", centred, centred)
    central = g.op("Mul", centred, _ratio(g, g.op("Sub", _number(g, 0.180625, p), square), CENTRAL))
    nearer = g.op("Min", p, g.op("Sub", _number(g, 1.0, p), p))
    root = g.op("Sqrt", g.op("Neg", g.op("Log", g.op("Max", nearer, _number(g, 1e-300, p)))))
    tail = _ratio(g, g.op("Sub", root, _number(g, 1.6, p)), TAIL)
    far = _ratio(g, g.op("Sub", root, _number(g, 5.0, p)), FAR_TAIL)
    outer = g.op("Where", g.op("LessOrEqual", root, _number(g, 5.0, p)), tail, far)
    outer = g.op("Mul", outer, g.op("Sign", centred))
    return g.op("Where", g.op("LessOrEqual", g.op("Abs", centred), _number(g, 0.425, p)), central, outer)


def nanmedian(g: Any, x: Any, dim: Any, keepdim: Any) -> tuple[Any, Any]:
    """torch.nanmedian along an axis, the lower of two; its first result only."""
    axis = symbolic_helper._get_const(dim, "i", "dim")
    missing = g.op("IsNaN", x)
    observed = g.op("Cast", g.op("Not", missing), to_i=7)
    count = g.op("ReduceSum", observed, _axis(g, axis), keepdims_i=1)
    size = g.op("Gather", g.op("Shape", x), _axis(g, axis))
    filled = g.op("Where", missing, _number(g, math.inf, x), x)
    ordered, _ = g.op("TopK", filled, size, axis_i=axis, largest_i=0, sorted_i=1, outputs=2)
    middle = g.op("Max", g.op("Div", g.op("Sub", count, _axis(g, 1)), _axis(g, 2)), _axis(g, 0))
    median = g.op("GatherElements", ordered, middle, axis_i=axis)
    median = g.op("Where", g.op("Equal", count, _axis(g, 0)), _number(g, math.nan, x), median)
    if not symbolic_helper._get_const(keepdim, "b", "keepdim"):
        median = g.op("Squeeze", median, _axis(g, axis))
    return median, g.op("Cast", median, to_i=7)


def fft_rfft(g: Any, x: Any, n: Any, dim: Any, norm: Any) -> Any:  # noqa: ARG001 (torch's signature)
    """torch.fft.rfft over the last axis, as real and imaginary parts (…, n // 2 + 1, 2)."""
    return g.op("DFT", g.op("Unsqueeze", x, _axis(g, -1)), _scalar(g, n), _scalar(g, _axis(g, -2)), onesided_i=1)


def _scalar(g: Any, value: Any) -> Any:
    return g.op("Reshape", value, g.op("Constant", value_t=torch.tensor([], dtype=torch.int64)))


def fft_irfft(g: Any, power: Any, n: Any, dim: Any, norm: Any) -> Any:  # noqa: ARG001 (torch's signature)
    """torch.fft.irfft of a spectrum without imaginary parts, over the last axis and of an even length."""
    if power.node().kind() == "onnx::Cast":  # to complex numbers, which ONNX has not
        power = next(iter(power.node().inputs()))
    inner = g.op("Slice", power, _axis(g, 1), _axis(g, -1), _axis(g, -1))
    backwards = g.op("Slice", inner, _axis(g, -1), _axis(g, -(2**62)), _axis(g, -1), _axis(g, -1))
    spectrum = g.op("Unsqueeze", g.op("Concat", power, backwards, axis_i=-1), _axis(g, -1))
    transformed = g.op("DFT", spectrum, _scalar(g, n), _scalar(g, _axis(g, -2)))
    real = g.op("Squeeze", g.op("Slice", transformed, _axis(g, 0), _axis(g, 1), _axis(g, -1)), _axis(g, -1))
    return g.op("Div", real, g.op("CastLike", n, real))


def view_as_real(g: Any, x: Any) -> Any:  # noqa: ARG001 (torch's signature)
    """Nothing: complex numbers are pairs here."""
    return x


def unflatten(g: Any, x: Any, dim: Any, sizes: Any) -> Any:
    """torch.unflatten of an axis counted from the front."""
    axis = symbolic_helper._get_const(dim, "i", "dim")
    if symbolic_helper._is_packed_list(sizes):
        parts = [g.op("Reshape", part, _axis(g, 1)) for part in symbolic_helper._unpack_list(sizes)]
        sizes = g.op("Concat", *parts, axis_i=0)
    shape = g.op("Shape", x)
    front = g.op("Slice", shape, _axis(g, 0), _axis(g, axis), _axis(g, 0))
    behind = g.op("Slice", shape, _axis(g, axis + 1), _axis(g, 2**31), _axis(g, 0))
    return g.op("Reshape", x, g.op("Concat", front, sizes, behind, axis_i=0))


def log(g: Any, x: Any) -> Any:
    """Also of a whole number, such as a size, which ONNX has no logarithm of."""
    kind = JitScalarType.from_value(x, JitScalarType.UNDEFINED)
    if kind == JitScalarType.INT64:
        x = g.op("Cast", x, to_i=_DOUBLE)
    return g.op("Log", x)


def clamp(g: Any, x: Any, low: Any, high: Any) -> Any:
    """torch.clamp, also where the exporter has lost the type of the numbers."""
    if JitScalarType.from_value(x, JitScalarType.UNDEFINED) != JitScalarType.UNDEFINED:
        return symbolic_opset11.clamp(g, x, low, high)
    for bound, choose in ((low, "Max"), (high, "Min")):
        x = x if symbolic_helper._is_none(bound) else g.op(choose, x, g.op("CastLike", bound, x))
    return x


def asinh(g: Any, x: Any) -> Any:
    """torch.asinh, of numbers with a square that is too large, too."""
    size = g.op("Abs", x)
    small = g.op("Min", size, _number(g, 1e9, x))
    root = g.op("Sqrt", g.op("Add", g.op("Mul", small, small), _number(g, 1.0, x)))
    beyond = g.op("Log", g.op("Div", g.op("Max", size, _number(g, 1e9, x)), _number(g, 1e9, x)))
    return g.op("Mul", g.op("Sign", x), g.op("Add", g.op("Log", g.op("Add", small, root)), beyond))


def expm1(g: Any, x: Any) -> Any:
    """torch.expm1, to the precision of the exponential."""
    return g.op("Sub", g.op("Exp", x), _number(g, 1.0, x))


def nearest(g: Any, x: Any) -> Any:
    """torch.round to whole numbers."""
    return g.op("Round", x)


OPERATORS = {
    "asinh": asinh,
    "clamp": clamp,
    "log": log,
    "expm1": expm1,
    "round": nearest,
    "cummax": cummax,
    "cummin": cummin,
    "fft_irfft": fft_irfft,
    "fft_rfft": fft_rfft,
    "nanmedian": nanmedian,
    "searchsorted": searchsorted,
    "special_ndtri": special_ndtri,
    "unflatten": unflatten,
    "view_as_real": view_as_real,
}
