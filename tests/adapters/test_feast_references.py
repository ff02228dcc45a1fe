"""In which order are the inputs of computed features asked of Feast?"""

from recsys.adapters.feast_features.reader import with_inputs
from recsys.ports import FeatureSet, RequestTransform, ViewInfo


def view(name: str, *features: str) -> ViewInfo:
    return ViewInfo(name, ("user_id",), features, dict.fromkeys(features, "number"), None)


def test_inputs_stand_before_what_reads_them_and_once() -> None:
    """In the order of their names, whatever order the transform has them in; a request's own field is not asked for."""
    features = FeatureSet(
        name="service",
        columns=("a", "rate", "b", "share"),
        references=("first:a", "ratio:rate", "second:b", "ratio:share"),
        views=(view("first", "a", "z"), view("second", "b", "c", "d")),
        transforms=(
            RequestTransform("ratio", ("z", "d", "b", "a", "request_timestamp", "c"), ("rate", "share"), lambda _: {}),
        ),
    )
    expected = ["first:a", "first:z", "second:c", "second:d", "ratio:rate", "second:b", "ratio:share"]
    assert with_inputs(features) == expected


def test_without_computed_features_nothing_is_added() -> None:
    features = FeatureSet("service", ("b", "a"), ("first:b", "first:a"), (view("first", "a", "b", "c"),))
    assert with_inputs(features) == ["first:b", "first:a"]
