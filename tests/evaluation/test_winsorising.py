"""Outliers are lowered where a metric says so, to one limit of all arms, and nothing else is touched."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recsys.evaluation.metric_definition import MetricDefinition
from recsys.evaluation.winsorising import winsorise
from recsys.specs.online_metric import OnlineMetric


def definition(name: str, quantile: float | None) -> MetricDefinition:
    value = {"event": "purchase", "count": "value", "of": "any"}
    fields = {"description": "d", "numerator": value, "denominator": "units", "winsorise": quantile}
    return MetricDefinition(name, "declared", None, OnlineMetric.model_validate(fields))


def rows(numerator: list[float], *metrics: MetricDefinition, before: list[float] | None = None) -> pa.Table:
    columns = {}
    for metric in metrics:
        present = [0.0] * len(numerator) if before is None else [float(value >= 0) for value in before]
        values = [numerator, [1.0] * len(numerator), [max(0.0, each) for each in before or numerator], present]
        columns |= dict(zip(metric.columns, values, strict=True))
    return pa.table(columns)


def test_by_hand() -> None:
    declared, plain = definition("revenue", 0.75), definition("raw", None)
    table = rows([0.0, 1.0, 2.0, 3.0, 100.0], declared, plain, before=[-1.0, 1.0, 2.0, 50.0, -1.0])
    lowered, (done,) = winsorise(table, [declared, plain])
    assert lowered[declared.numerator].to_pylist() == [0, 1, 2, 3, 3]
    assert lowered[declared.covariate_numerator].to_pylist() == [0, 1, 2, 50, 0]
    assert (done.metric, done.limit, done.units, done.covariate_limit) == ("revenue", 3.0, 1, 50.0)
    assert lowered.select(plain.columns).equals(table.select(plain.columns))


def test_nothing_to_lower() -> None:
    declared = definition("revenue", 0.9)
    assert winsorise(rows([], declared), [declared])[1] == ()
    _, (done,) = winsorise(rows([1.0, 1.0], declared), [declared])
    assert (done.units, done.covariate_limit) == (0, None)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.51, 0.999))
def test_at_most_the_share_above_the_quantile_is_lowered(numerator: list[float], quantile: float) -> None:
    declared = definition("revenue", quantile)
    table, (done,) = winsorise(rows(numerator, declared), [declared])
    after = table[declared.numerator].to_numpy()
    assert done.units <= (1 - quantile) * len(numerator)
    assert np.array_equal(after, np.minimum(numerator, done.limit))
    assert done.limit in numerator
