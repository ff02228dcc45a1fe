"""What of an Ibis expression would Spark take for something else than DuckDB does?"""

from typing import Any


def portable(expression: Any) -> Any:  # noqa: ANN401 - Ibis tables have no published types
    """Return a table whose floating literals are doubles.

    Ibis writes them as `100.0`, which is a decimal in Spark's SQL: a division by it would be cut to six digits.
    """
    import ibis.expr.datatypes as dt
    import ibis.expr.operations as ops
    from ibis.expr.rewrites import p, replace

    as_double = replace(p.Literal(dtype=dt.Floating))(lambda _: ops.Cast(_, to=dt.float64))
    return expression.op().replace(as_double).to_expr()
