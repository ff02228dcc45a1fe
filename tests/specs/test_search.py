"""Is a range of settings refused where the declaration is read, and not in the middle of a search?"""

import pytest
from pydantic import ValidationError

from recsys.specs.model import CatBoostAlgorithm, Search


def test_the_defaults_hold_what_an_algorithm_is_by_default() -> None:
    algorithm = CatBoostAlgorithm(type="catboost", loss="Logloss")
    for name in Search.model_fields:
        low, high = getattr(Search(), name)
        assert low <= getattr(algorithm, name) <= high


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("depth", (4, 13), "13 is no depth: Input should be less than or equal to 12"),
        ("depth", (0, 4), "0 is no depth: Input should be greater than or equal to 1"),
        ("depth", (6, 4), "the first value is the smaller one"),
        ("learning_rate", (0.1, 1.5), "1.5 is no learning_rate: Input should be less than or equal to 1"),
        ("learning_rate", (0, 0.1), "0 is no learning_rate: Input should be greater than 0"),
        ("l2_leaf_reg", (0, 10), "on a logarithmic scale the first value lies above 0"),
        ("min_data_in_leaf", (0, 10), "0 is no min_data_in_leaf: Input should be greater than or equal to 1"),
        ("random_strength", (-1, 1), "-1 is no random_strength: Input should be greater than or equal to 0"),
    ],
)
def test_what_the_algorithm_would_refuse_is_refused(name: str, values: tuple[float, float], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Search.model_validate({name: values})
    assert words in str(refused.value)


def test_one_value_is_a_range() -> None:
    assert Search.model_validate({"random_strength": (0, 0)}).random_strength == (0, 0)
