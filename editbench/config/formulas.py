"""Formulas of protocols, such as `sqrt(min(success, restraint) * quality)`: read, and computed from named numbers.

A formula has numbers, names, `+ - * /`, one comparison, `a if b else c`, and `min`, `max`, `mean`, `sqrt`; nothing else
is run.
"""

import ast
import functools
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

FUNCTIONS: dict[str, Callable[..., float]] = {
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "mean": lambda *values: math.fsum(values) / len(values),
    "sqrt": math.sqrt,
}
_OPERATORS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


@functools.lru_cache(maxsize=1024)
def names_in(formula: str) -> frozenset[str]:
    """Names that a formula needs numbers for.

    Raises:
        ValueError: it is none; says what of it.
    """
    names: set[str] = set()
    _walk(_parse(formula), names)
    return frozenset(names)


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """Compute a formula.

    Args:
        formula: One that `names_in` accepts.
        values: Of all names in it.

    Raises:
        ValueError, ZeroDivisionError: it has no value here, such as the root of a negative number.
    """
    return float(_value(_parse(formula), values))


@functools.lru_cache(maxsize=1024)
def _parse(formula: str) -> ast.expr:
    try:
        return ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(f"{formula!r} is no formula") from error


def _walk(node: ast.expr, names: set[str]) -> None:
    match node:
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            names.add(name)
            return
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            parts = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            parts = [left, right]
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
            parts = [left, right]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            parts = [test, body, orelse]
        case ast.Call(func=ast.Name(id=name), args=[_, *_] as parts, keywords=[]) if name in FUNCTIONS:
            pass
        case _:
            raise ValueError(
                f"{ast.unparse(node)!r} cannot stand in a formula; it has {', '.join(FUNCTIONS)} and + - * /"
            )
    for part in parts:
        _walk(part, names)


def _value(node: ast.expr, values: Mapping[str, float]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(operand=operand):
            return -_value(operand, values)
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _value(body if _value(test, values) else orelse, values)
        case ast.Call(func=ast.Name(id=name), args=args):
            return FUNCTIONS[name](*(_value(argument, values) for argument in args))
    raise ValueError(f"{ast.unparse(node)!r} cannot stand in a formula")
