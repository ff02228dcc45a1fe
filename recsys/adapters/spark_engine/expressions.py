"""What of an Ibis expression would Spark take for something else than DuckDB does?"""

from functools import cache
from typing import Any


def portable(expression: Any) -> Any:  # noqa: ANN401 - Ibis tables have no published types
    """Return a table that means on Spark what it means on DuckDB.

    - Floating literals are doubles. Ibis writes `100.0`, which Spark reads as a decimal: a division by it is cut to six
      digits.
    - Seconds since 1970 have fractions, as on DuckDB, where Spark's own function cuts them off.
    """
    return expression.op().replace(_rules()).to_expr()


@cache
def _rules() -> Any:  # noqa: ANN401 - Ibis rules have no published types
    import ibis
    import ibis.expr.datatypes as dt
    import ibis.expr.operations as ops
    from ibis.expr.rewrites import p, replace

    # Ibis calls both whole numbers. What it would do with another type was decided when the expression was written.
    builtin = ibis.udf.scalar.builtin
    seconds_of = builtin(lambda _: ..., name="double", signature=((dt.timestamp,), dt.int64))
    moment_of = builtin(lambda _: ..., name="timestamp_seconds", signature=((dt.int64,), dt.timestamp))
    doubles = replace(p.Literal(dtype=dt.Floating))(lambda _: ops.Cast(_, to=dt.float64))
    seconds = replace(p.ExtractEpochSeconds)(lambda _: seconds_of(ops.Cast(_.arg, to=dt.timestamp).to_expr()).op())
    moments = replace(p.TimestampFromUNIX)(lambda _: moment_of(_.arg.to_expr()).op() if _.unit.short == "s" else _)
    return doubles | seconds | moments
