"""Does the page of an offline evaluation say what its document says, and nothing else?"""

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from recsys.modeling.judged import Items, JudgedLists, JudgedUnits, Rows, TakenItems
from recsys.modeling.offline_evaluation import (
    MODEL,
    ablation,
    evaluate,
    feature_correlation,
    plain_values,
    reliability,
)
from recsys.reports.conventions import conventions
from recsys.reports.offline import page, pictures
from recsys.specs.metric import LIST_METRICS, Metric, reach_metrics
from recsys.specs.model import Gate

NUMBER = re.compile(r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?")
MONDAYS = ("2017-11-13", "2017-11-20")
HOSTILE = "<script>alert('$x$')</script> & \"$y$\""


class Text(HTMLParser):
    """Collects the text, headings and figures of a page; styles and drawings apart."""

    def __init__(self) -> None:
        """Read nothing yet."""
        super().__init__()
        self.words: list[str] = []
        self.headings: list[str] = []
        self.figures: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in {"style", "svg", "h1", "h2"}:
            self._inside.append(tag)
        if tag == "figure":
            self.figures.append(str(dict(attrs).get("aria-label", "")))

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if not {"style", "svg"} & set(self._inside):
            self.words.append(data)
        if "h2" in self._inside or "h1" in self._inside:
            self.headings.append(data)


def read(html: str) -> Text:
    found = Text()
    found.feed(html)
    return found


def list_document() -> dict[str, Any]:
    """Evaluate lists of a small shop, with everything that a ranking can have."""
    rng = np.random.default_rng(1)
    requests, candidates = 80, 12
    label = (rng.random((requests, candidates)) < 0.2).astype(np.float32)
    label[:, 0] = 1
    rows = Rows(label.ravel(), np.repeat(np.arange(requests), candidates), np.tile(np.arange(candidates), requests))
    item = np.tile(np.arange(candidates), requests)
    hit = rows.label > 0
    judged = JudgedLists(
        rows=rows,
        item=item,
        sources=rng.integers(1, 4, len(rows)),
        users=np.array([f"u{number % 50}" for number in range(requests)], dtype=object),
        moments=np.repeat(np.array(MONDAYS, dtype="datetime64[us]"), requests // 2),
        relevant=label.sum(axis=1).astype(float),
        history=rng.integers(0, 6, requests),
        taken=TakenItems(rows.request[hit], item[hit], rng.random(hit.sum()) < 0.3),
        items=Items(np.array([*["dairy", "meat", HOSTILE] * 4], dtype=object), np.arange(candidates), 50, 20),
        splits={name: [np.datetime64(name, "us")] for name in MONDAYS},
    )
    scores = {
        MODEL: rows.label + rng.random(len(rows)),
        "popularity": rng.random(len(rows)),
        "decay": rows.label / 2 + rng.random(len(rows)),
    }
    metrics = tuple(Metric(name, 3, "user") for name in LIST_METRICS)
    gate = Gate.model_validate({"metric": "ndcg@3/user", "against": "decay"})
    report = evaluate(
        judged, scores, metrics, gate, resamples=50, confidence=0.95, sources=("popular", "personal")
    ).to_dict()
    columns = {"pair_count": scores[MODEL], "pair_decay": 2 * scores[MODEL], "price": rng.random(len(rows))}
    without = {MODEL: scores[MODEL], "pair": scores["popularity"]}
    ablated = plain_values(ablation(judged, without, metrics[0], resamples=50, confidence=0.95))
    return about() | {
        **report,
        "importance": {"pair_count": 61.5, "pair_decay": 30.25, "price": 8.25},
        "correlation": plain_values(feature_correlation(columns, rows.label)),
        "ablation": {"pair": {"columns": ["pair_count", "pair_decay"], **ablated["pair"]}},
    }


def about() -> dict[str, Any]:
    split = {
        "train": ["2017-10-30T00:00:00+00:00"],
        "validation": [],
        "test": [f"{day}T00:00:00+00:00" for day in MONDAYS],
    }
    return {
        "model_version": "basket/v7",
        "problem": "weekly_basket",
        "business_issue": "Households find too few of their usual products",
        "known_at": "2017-12-04T00:00:00+00:00",
        "splits": [split, split],
        "train_rows": 123_456,
        "data_digest": "0a1b2c3d4e5f6071",
        "digests": {"logic": "feedc0ffee123456"},
        "versions": {"catboost": "1.2.10"},
    }


def unit_document() -> dict[str, Any]:
    """Evaluate one list of units a decision time."""
    rng = np.random.default_rng(2)
    units, times = 120, 2
    chance = np.tile(rng.beta(1, 4, units), times)
    rows = Rows(
        (rng.random(units * times) < chance).astype(np.float32),
        np.repeat(np.arange(times), units),
        np.arange(units * times),
    )
    judged = JudgedUnits(
        rows=rows,
        users=np.tile(np.array([f"u{unit}" for unit in range(units)], dtype=object), times),
        history=rng.integers(0, 4, units * times),
        moments=np.array(MONDAYS, dtype="datetime64[us]"),
        relevant=np.bincount(rows.request, weights=rows.label) + 1,
        measured=False,
    )
    scores = {MODEL: chance, "spend": rng.random(units * times)}
    metrics = tuple(Metric(name, size, "global") for size in (5, 30, 80) for name in reach_metrics(measured=False))
    gate = Gate.model_validate({"metric": "precision@30/global", "against": "spend"})
    report = evaluate(judged, scores, metrics, gate, resamples=50, confidence=0.9, probabilities=(MODEL,)).to_dict()
    return report | {"reliability": plain_values(reliability(chance, rows.label, 5))}


@pytest.fixture(scope="module")
def lists() -> dict[str, Any]:
    return list_document()


@pytest.fixture(scope="module")
def list_page(lists: dict[str, Any]) -> str:
    return page(lists)


@pytest.fixture(scope="module")
def units() -> dict[str, Any]:
    return unit_document()


# ---------------------------------------------------------------- structure


def test_a_page_of_lists(list_page: str) -> None:
    found = read(list_page)
    assert found.headings == [
        "basket/v7",
        "What was asked",
        "All rankers on the same requests",
        "By split",
        "By decision time",
        "New, light and heavy units",
        "New and old items",
        "By category of the items",
        "Beside being right",
        "Candidates",
        "What the model leans on",
        "How to read it",
        "Made from",
    ]
    drawn = ["metrics", "splits", "decision times", "activity", "item age", "category", "candidates"]
    assert found.figures == [*drawn, "ablation", "importance", "correlation"]


def test_a_page_of_units_without_what_is_optional(units: dict[str, Any]) -> None:
    found = read(page(units))
    assert found.headings == [
        "Offline evaluation",
        "What was asked",
        "To be noted",
        "All rankers on the same requests",
        "By decision time",
        "New, light and heavy units",
        "As probabilities",
        "How to read it",
        "Made from",
    ]
    assert found.figures == ["metrics", "decision times", "activity", "reliability"]
    assert any(
        "a capacity of 80 is at least half of the 120 eligible units: not a selection" in each for each in found.words
    )


def test_the_least_that_a_document_has(units: dict[str, Any]) -> None:
    needed = ("kind", "requests", "units", "resamples", "confidence", "metrics", "gate")
    found = read(page({key: units[key] for key in needed}))
    assert found.figures == ["metrics"]
    assert "Passed its gate." in found.words


def test_the_verdict_stands_first(lists: dict[str, Any], list_page: str) -> None:
    gate = lists["gate"]
    assert gate["passed"]
    words = "".join(read(list_page).words)
    model, other = (lists["metrics"][name]["ndcg@3/user"]["estimate"] for name in (MODEL, "decay"))
    change, low, high = (f"{100 * (gate['ratio'][key] - 1):+.1f} %" for key in ("estimate", "lower", "upper"))
    said = f"On ndcg@3/user it reaches {model:.4f} where decay reaches {other:.4f}: {change} (between {low} and {high}"
    assert said in words
    assert words.index(said) < words.index("What was asked")
    refused = lists | {
        "gate": gate | {"passed": False, "reason": "too few hits", "ratio": dict.fromkeys(gate["ratio"])}
    }
    words = "".join(read(page(refused)).words)
    assert "Refused by its gate." in words
    assert "too few hits" in words
    assert said not in words


# ---------------------------------------------------------------- numbers


def numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, Mapping):
        yield len(value)
        for each in value.values():
            yield from numbers_of(each)
    elif isinstance(value, list):
        yield len(value)
        for each in value:
            yield from numbers_of(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield value


def written(document: Mapping[str, Any]) -> set[str]:
    """Return every way in which the document's numbers may be written."""
    texts = set(NUMBER.findall(json.dumps(document))) | set(NUMBER.findall(" ".join(conventions(document["kind"]))))
    for value in numbers_of(document):
        texts |= {f"{value:,.{digits}f}" for digits in range(5)} | {f"{100 * value:.{digits}f}" for digits in range(2)}
        texts.add(f"{100 * (value - 1):+.1f}")
    return texts


@pytest.mark.parametrize("kind", ["lists", "units"])
def test_every_number_comes_from_the_document(kind: str, request: pytest.FixtureRequest) -> None:
    document = request.getfixturevalue(kind)
    allowed = written(document)
    shown = {each for words in read(page(document)).words for each in NUMBER.findall(words)}
    assert shown - allowed - {"1"} == set()  # "above 1 it is better"
    assert len(shown) > 100


def test_every_metric_is_shown(lists: dict[str, Any], list_page: str) -> None:
    words = "".join(read(list_page).words)
    for metrics in lists["metrics"].values():
        for values in metrics.values():
            assert f"{values['estimate']:.4f} [{values['lower']:.4f}, {values['upper']:.4f}]" in words


def test_what_is_null_is_a_hyphen(units: dict[str, Any]) -> None:
    nothing = dict.fromkeys(("estimate", "lower", "upper"))
    metrics = units["metrics"] | {"spend": dict.fromkeys(units["metrics"]["spend"], nothing)}
    html = page(units | {"metrics": metrics})
    assert '<th scope="row">spend</th><td>-</td><td>-</td>' in html
    assert "nan" not in html.lower()


# ---------------------------------------------------------------- form


def test_texts_are_escaped(lists: dict[str, Any]) -> None:
    hostile = json.loads(json.dumps(lists).replace("decay", json.dumps(HOSTILE)[1:-1]))
    hostile |= {
        "business_issue": HOSTILE,
        "model_version": HOSTILE,
        "remarks": [HOSTILE],
        "versions": {HOSTILE: HOSTILE},
    }
    html = page(hostile)
    assert "<script" not in html
    found = read(html)
    assert "script" not in {tag for tag, _ in found.tags}
    assert any(HOSTILE in words for words in found.words)  # as it was written


def test_the_page_asks_nothing_of_a_network(list_page: str) -> None:
    found = read(list_page)
    for tag, attributes in found.tags:
        assert tag not in {"script", "link", "img", "iframe", "object"}
        assert not {"src", "href"} & set(attributes)
        assert str(attributes.get("xlink:href", "#")).startswith("#")
    assert "url(http" not in list_page
    assert "@import" not in list_page


def test_drawings_take_the_ink_of_the_page(list_page: str) -> None:
    html = list_page
    assert "currentColor" in html
    assert "#24292f" not in html.partition("</style>")[2]


def test_pictures_are_whole_files(lists: dict[str, Any]) -> None:
    found = pictures(lists)
    names = ["metrics", "splits", "decision_times", "activity", "item_age", "category", "candidates"]
    assert list(found) == [f"{name}.svg" for name in (*names, "ablation", "importance", "correlation")]
    for image in found.values():
        root = ET.fromstring(image)  # noqa: S314 - drawn here
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root[0].attrib["fill"] == "#ffffff"


def test_the_same_document_gives_the_same_bytes(lists: dict[str, Any], units: dict[str, Any]) -> None:
    first = page(lists), pictures(lists)
    page(units)  # draws anew
    again = json.loads(json.dumps(lists))
    assert (page(again), pictures(again)) == first


def test_matplotlib_is_left_as_it_was(units: dict[str, Any]) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    pictures(units | {"units": 1})
    assert dict(mpl.rcParams) == before
