"""Are settings searched without a look at the test weeks, and are two versions compared on what neither knows?"""

import json
import shutil
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from recsys import cli, printing
from recsys.candidates.pool import to_numpy
from recsys.errors import ModelError
from recsys.modeling.decision_times import TEST, VALIDATION, times_of, tuning_splits
from recsys.modeling.metrics import list_metrics, top_k
from recsys.modeling.requests import ITEM_ROW, REQUEST
from recsys.modeling.training_set import TrainingSet
from recsys.ports import Columns, Weights
from recsys.schema import EVENT_TIMESTAMP, ITEM, LABEL, USER
from recsys.wiring import open_workspace
from recsys.workflows.modeling.compare import Compared, compare
from recsys.workflows.modeling.dataset import build_dataset
from recsys.workflows.modeling.fits import fit
from recsys.workflows.modeling.judging import scores_of
from recsys.workflows.modeling.train import Trained, train
from recsys.workflows.modeling.training_data import Building
from recsys.workflows.modeling.tune import Tuned, tune
from recsys.workflows.workspace import Workspace
from tests.integration.conftest import edit

NOW: Final = datetime(2017, 12, 4, tzinfo=UTC)
WEAK: Final = "basket/weak"
WEAK_FILE: Final = """\
# No leaf is ever split: whatever else is tried is better.
problem: weekly_basket
placement: home
feature_service: basket_flat
algorithm:
  type: catboost   # an ensemble
  loss: Logloss
  iterations: 10
  depth: 4
  learning_rate: 0.2
  min_data_in_leaf: 100000
  categorical: [item_department]
training: {decision_times: 3}
testing: {decision_times: 1, splits: 2, resamples: 100}
negatives: {per_request: 10}
baselines: {popularity: "item_weekly:item_baskets_28d"}
search: {random_strength: [1, 1], min_data_in_leaf: [1, 100000]}
gate: {metric: ndcg@10/user, against: popularity}
"""


def project(shop: Workspace, target: Path) -> Workspace:
    """Copy the shop, so that its registry stays as it is, and declare a version that is easily beaten."""
    shutil.copytree(shop.root, target)
    (target / "registry/models/basket/weak.yaml").write_text(WEAK_FILE)
    short = target / "registry/models/coupon/short.yaml"
    shutil.copy(target / "registry/models/coupon/v1.yaml", short)
    edit(short, lambda spec: spec.update(training={"decision_times": 2}, testing={"decision_times": 1}))
    return open_workspace("local", target)


@dataclass
class Asked:
    """What a search asked of the rest of the system."""

    moments: set[datetime] = field(default_factory=set)
    """Decision times that features were joined for."""
    fits: int = 0

    def watch(self, workspace: Workspace, patch: pytest.MonkeyPatch, ends_at: int | None = None) -> None:
        """Listen; the n-th fit is ended as by Ctrl-C."""
        adapters = type(workspace.adapters)  # its instances are frozen
        historical, estimator = workspace.features.historical, adapters.estimator

        def joined(rows: pa.Table, *arguments: Any) -> pa.Table:
            self.moments |= set(rows[EVENT_TIMESTAMP].to_pylist())
            return historical(rows, *arguments)

        def fitted(*arguments: Any) -> Any:
            self.fits += 1
            if self.fits == ends_at:
                raise KeyboardInterrupt
            return estimator(*arguments)

        patch.setattr(workspace.features, "historical", joined)
        patch.setattr(adapters, "estimator", fitted)


@dataclass
class Searched:
    """A search that was ended in its second trial and went on."""

    workspace: Workspace
    dataset: TrainingSet
    tuned: Tuned
    asked: Asked
    broken: Asked
    told: list[tuple[str, int, int]]
    before: str
    """registry/ as it was."""


def registry_of(workspace: Workspace) -> str:
    """Return all declarations as one text."""
    files = sorted((workspace.root / "registry").rglob("*.*"))
    return json.dumps({str(path.relative_to(workspace.root)): path.read_text() for path in files})


@pytest.fixture(scope="module")
def searched(shop: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """All that is known of the test requests is destroyed before the search begins."""
    workspace = project(shop, tmp_path_factory.mktemp("tuned") / "project")
    dataset = build_dataset(workspace, WEAK).dataset
    before = registry_of(workspace)
    files = {name: dataset.folder / f"{name}.parquet" for name in (TEST, "requests", "taken", "items")}
    kept = {name: path.read_bytes() for name, path in files.items()}
    for path in files.values():
        path.write_text("nobody may read this")
    asked, broken = Asked(), Asked()
    told: list[tuple[str, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        broken.watch(workspace, patch, ends_at=4)
        with pytest.raises(KeyboardInterrupt):
            tune(workspace, WEAK, 3)
    assert registry_of(workspace) == before
    with pytest.MonkeyPatch.context() as patch:
        asked.watch(workspace, patch)
        tuned = tune(workspace, WEAK, 3, progress=lambda *what: told.append(what))
    for name, path in files.items():
        path.write_bytes(kept[name])
    return Searched(open_workspace("local", workspace.root), dataset, tuned, asked, broken, told, before)


@pytest.fixture(scope="module")
def trained(searched: Searched) -> Trained:
    """The version that the search wrote, trained."""
    assert searched.tuned.named is not None
    return train(searched.workspace, searched.tuned.named)


@pytest.fixture(scope="module")
def compared(shop: Workspace) -> Compared:
    """The champion and its challenger."""
    return compare(shop, "basket/v1", "basket/v2")


# ---------------------------------------------------------------- tune


def test_only_validation_weeks_before_every_test_week_are_asked_for(searched: Searched) -> None:
    """The later split's validation week is the earlier one's test week: it is not asked for either."""
    tested = times_of(searched.dataset.splits, TEST)
    assert [f"{time:%m-%d}" for time in tested] == ["11-20", "11-27"]
    assert searched.asked.moments == searched.broken.moments == {*searched.tuned.times}
    assert [f"{time:%m-%d}" for time in searched.tuned.times] == ["11-06", "11-13"]
    assert max(searched.tuned.times) + searched.dataset.splits[0].wait <= min(tested)


def test_a_search_that_was_ended_goes_on(searched: Searched) -> None:
    """Two fits a trial: the fourth one, in the second trial, was ended; the first trial is not fitted again."""
    assert searched.broken.fits == 4
    assert searched.asked.fits == 4
    assert [trial.number for trial in searched.tuned.trials] == [0, 1, 2]
    assert [told for told in searched.told if told[0].startswith("trials")] == [
        (f"trials, best {max(trial.value for trial in searched.tuned.trials[:count]):.4f}", count, 3)
        for count in (2, 3)
    ]


def test_the_first_trial_is_as_declared_and_the_values_are_the_metric(searched: Searched) -> None:
    workspace, tuned = searched.workspace, searched.tuned
    declared = {"depth": 4, "learning_rate": 0.2, "l2_leaf_reg": 3.0, "min_data_in_leaf": 100_000}
    assert tuned.declared.settings == declared
    dataset = searched.dataset
    splits = tuning_splits(dataset.splits)
    building = Building(workspace, WEAK, NOW, lambda *_: None)
    rows, _ = building.judged_at(times_of(splits, VALIDATION))
    columns = workspace.features.feature_set("basket_flat").columns
    moments = to_numpy(rows[EVENT_TIMESTAMP])
    taken = weeks_of(workspace, rows)
    for trial in (tuned.declared, tuned.best):
        spec = workspace.catalog.model(WEAK)
        spec = spec.model_copy(update={"algorithm": spec.algorithm.model_copy(update=dict(trial.settings))})
        scores = np.full(len(rows), np.nan)
        for split in splits:
            mine = np.flatnonzero(moments == np.datetime64(split.validation[0].replace(tzinfo=None)))
            ranker = fit(workspace, spec, columns, dataset, split, lambda *_: None)
            scores[mine] = ranker.score({name: to_numpy(rows[name])[mine] for name in columns})
        assert means(rows, scores, taken)["ndcg"].mean() == pytest.approx(trial.value, abs=1e-12)


def test_the_best_is_written_for_review(searched: Searched) -> None:
    tuned, workspace = searched.tuned, searched.workspace
    assert tuned.best.value == max(trial.value for trial in tuned.trials) > tuned.declared.value
    assert (tuned.named, tuned.written) == ("basket/v4", True)
    assert tuned.file == workspace.root / "registry/models/basket/v4.yaml"
    text = tuned.file.read_text()
    head, lines = text.splitlines()[:2], text.splitlines()[2:]
    assert f"trial {tuned.best.number} of `recsys tune`: ndcg@10/user {tuned.best.value:.4f}" in head[0]
    assert f"{tuned.declared.value:.4f}. No test week was read" in head[1]
    ours = WEAK_FILE.splitlines()
    settings = tuned.best.settings
    assert [line for line in lines if line not in ours] == [
        f"  l2_leaf_reg: {settings['l2_leaf_reg']}",
        *([f"  depth: {settings['depth']}"] if settings["depth"] != 4 else []),
        f"  learning_rate: {settings['learning_rate']}",
        f"  min_data_in_leaf: {settings['min_data_in_leaf']}",
    ]
    assert {"  type: catboost   # an ensemble", "# No leaf is ever split: whatever else is tried is better."} <= {
        *lines
    }
    now = json.loads(registry_of(workspace))
    assert now.pop("registry/models/basket/v4.yaml") == text
    assert json.dumps(now) == searched.before  # nothing else was touched, and no part of a file is left


def test_the_new_version_is_the_old_one_with_the_best_settings(searched: Searched) -> None:
    catalog = searched.workspace.catalog
    old, new = catalog.model(WEAK), catalog.model("basket/v4")
    algorithm = old.algorithm.model_copy(update=dict(searched.tuned.best.settings))
    assert new == old.model_copy(update={"algorithm": algorithm})


def test_the_same_search_again_fits_nothing_and_writes_nothing(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, asked, before = searched.workspace, Asked(), registry_of(searched.workspace)
    asked.watch(workspace, monkeypatch)
    again = tune(workspace, WEAK, 2)  # there are more
    assert asked.fits == 0
    assert list(again.trials) == list(searched.tuned.trials)
    assert (again.named, again.file, again.written) == ("basket/v4", searched.tuned.file, False)
    assert registry_of(workspace) == before


def test_a_file_that_was_made_meanwhile_is_never_written_over(
    searched: Searched, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = searched.workspace
    known = workspace.catalog
    without = {name: spec for name, spec in known.models.items() if name != "basket/v4"}
    monkeypatch.setattr(workspace, "catalog", replace(known, models=without))
    theirs = workspace.root / "registry/models/basket/mine.yaml"
    search = type(workspace.adapters).search

    def meanwhile(*arguments: Any) -> Any:
        theirs.write_text("problem: of somebody else")
        return search(*arguments)

    monkeypatch.setattr(type(workspace.adapters), "search", meanwhile)
    try:
        with pytest.raises(ModelError, match=r"--as 'mine': .*basket has .*mine"):
            tune(workspace, WEAK, 3, named="mine")
        assert theirs.read_text() == "problem: of somebody else"
    finally:
        theirs.unlink()


def test_the_new_version_is_trainable_and_passes_or_fails_its_own_gate(trained: Trained) -> None:
    assert trained.weights.version == "v4"
    assert trained.report["gate"]["reason"]
    assert [split["test"][0][:10] for split in trained.report["splits"]] == ["2017-11-20", "2017-11-27"]


@pytest.mark.parametrize(
    ("version", "change", "named", "words"),
    [
        ("basket/v1", {}, None, "basket/v1: its algorithm orders by one feature: there is nothing to tune"),
        (
            "basket/v2",
            {"search": {"depth": [2, 4]}},
            None,
            "search.depth: [2, 4] does not hold the declared 6, which is tried first; widen it in registry/models/",
        ),
        (
            "basket/v2",
            {
                "search": {
                    "depth": [6, 6],
                    "learning_rate": [0.1, 0.1],
                    "l2_leaf_reg": [3, 3],
                    "min_data_in_leaf": [1, 1],
                    "random_strength": [1, 1],
                }
            },
            None,
            "basket/v2: search: every setting has one value: there is nothing to try; widen one of them",
        ),
        ("basket/v2", {}, "flat", "--as 'flat': a new version has a name of its own"),
        ("basket/v2", {}, "gone", "--as 'gone': a new version has a name of its own"),  # trained, and no file now
        ("basket/v2", {}, "../v9", "--as '../v9': a new version has a name of its own, of letters, digits, _ and -"),
    ],
)
def test_tune_says_why_it_refuses(
    searched: Searched,
    tmp_path: Path,
    version: str,
    change: dict[str, Any],
    named: str | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything is computed."""
    shutil.copytree(searched.workspace.root / "registry", tmp_path / "registry")
    edit(tmp_path / f"registry/models/{version}.yaml", lambda spec: spec.update(change))
    monkeypatch.setattr(searched.workspace, "catalog", open_workspace("local", tmp_path).catalog)
    trained_before = searched.workspace.registry.search("basket")
    gone = [Weights("basket", 99, "gone", {}), *trained_before]
    monkeypatch.setattr(searched.workspace.registry, "search", lambda _: gone)
    with pytest.raises(ModelError) as refused:
        tune(searched.workspace, version, 2, named)
    assert words in str(refused.value)


def test_a_capacity_that_selects_nothing_is_no_metric_to_search_by(searched: Searched) -> None:
    """Of 150 households 500 are all of them, whatever the settings are."""
    with pytest.raises(ModelError, match=r"gate.metric recall@500/global: .* not a selection; .* smaller capacity"):
        tune(searched.workspace, "coupon/short", 2)


# ---------------------------------------------------------------- compare


def test_both_are_measured_on_the_same_rows(shop: Workspace, compared: Compared) -> None:
    """By hand: the rows that each was tested on, which are of the same candidates, and each request's metrics."""
    dataset, theirs = (build_dataset(shop, version).dataset for version in ("basket/v1", "basket/v2"))
    rows, known = dataset.rows(TEST), theirs.rows(TEST)
    for column in (USER, ITEM, EVENT_TIMESTAMP, REQUEST, LABEL):
        assert rows[column].equals(known[column])
    requests = dataset.rows("requests").filter(pc.equal(dataset.rows("requests")["part"], TEST))
    taken = requests["relevant"].to_numpy()
    ranker = weights_of(shop, "v2")
    scores = {
        "basket/v1": to_numpy(rows["pair_baskets"]).astype(np.float64),
        "basket/v2": ranker.score({name: to_numpy(known[name]) for name in ranker.columns}),
    }
    document = compared.document
    assert document["requests"] == np.count_nonzero(taken)
    assert document["decision_times"] == [f"2017-11-{day}T00:00:00+00:00" for day in (13, 20, 27)]
    by_hand = {name: means(rows, each, taken) for name, each in scores.items()}
    users = np.asarray(requests[USER].to_pylist())[taken > 0]
    assert document["units"] == len(set(users))
    for metric, interval in document["ratios"].items():
        name = metric.partition("@")[0]
        first, second = by_hand["basket/v1"][name], by_hand["basket/v2"][name]
        assert document["metrics"]["basket/v1"][metric]["estimate"] == pytest.approx(first.mean(), abs=1e-12)
        assert document["metrics"]["basket/v2"][metric]["estimate"] == pytest.approx(second.mean(), abs=1e-12)
        assert interval["estimate"] == pytest.approx(second.mean() / first.mean(), abs=1e-12)
        low, high = ratio_by_bootstrap(users, first, second)
        assert (interval["lower"], interval["upper"]) == pytest.approx((low, high), abs=0.25 * (high - low))
    assert [*document["ratios"]] == [f"{name}@10/user" for name in ("ndcg", "precision", "recall", "mrr", "map")]


def test_the_other_way_round_is_the_inverse(shop: Workspace, compared: Compared) -> None:
    """The candidates are the same: only which one is divided by which differs, draw by draw."""
    inverse = compare(shop, "basket/v2", "basket/v1").document
    for metric, interval in compared.document["ratios"].items():
        other = inverse["ratios"][metric]
        assert other["estimate"] == pytest.approx(1 / interval["estimate"])
        assert other["lower"] == pytest.approx(1 / interval["upper"], rel=1e-3)
        assert other["upper"] == pytest.approx(1 / interval["lower"], rel=1e-3)
        for version in ("basket/v1", "basket/v2"):
            assert inverse["metrics"][version] == compared.document["metrics"][version]


def test_weeks_that_one_of_them_learned_from_are_left_out(searched: Searched, trained: Trained) -> None:
    """The tuned version's last split validates on 11-20, whose labels end on 11-27: only that Monday is new to both."""
    document = compare(searched.workspace, "basket/v1", trained.weights.model_version).document
    assert document["decision_times"] == ["2017-11-27T00:00:00+00:00"]
    other_way = compare(searched.workspace, trained.weights.model_version, "basket/v1").document
    assert other_way["decision_times"] == document["decision_times"]
    assert other_way["requests"] == document["requests"]
    assert other_way["second"] == document["first"] == {"model_version": "basket/v1", "weights": 1}


def test_rows_of_one_version_get_what_another_one_reads(shop: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """basket/v2's rows have features that basket/v3's are made of, and as one what v3's views have as a key."""
    rows = build_dataset(shop, "basket/v2").dataset.rows(TEST)
    reads = shop.features.feature_set(shop.catalog.model("basket/v3").feature_service)
    given: dict[str, NDArray[Any]] = {}

    class Ranker:
        columns = reads.columns

        def score(self, columns: Columns) -> NDArray[np.float64]:
            given.update(columns)
            return np.arange(len(rows), dtype=np.float64)

    monkeypatch.setattr(shop.registry, "load", lambda _: Ranker())
    assert {"user_baskets", "item_category"} <= {*rows.column_names} - {*reads.columns}
    scores = scores_of(shop, Weights("basket", 9, "v3", {}), rows)
    np.testing.assert_array_equal(scores, np.arange(len(rows)))
    assert given.keys() == {*reads.columns}
    for name in {*reads.columns} & {*rows.column_names}:
        np.testing.assert_array_equal(given[name], to_numpy(rows[name]))
    assert np.count_nonzero(given["covisit_strength"])


def test_compare_says_why_it_refuses(searched: Searched, trained: Trained) -> None:
    workspace = searched.workspace
    earlier = datetime(2017, 11, 13, tzinfo=UTC)
    v4 = trained.weights.model_version
    refusals: list[tuple[str, str, datetime | None, str]] = [
        ("basket/v1", "basket/v1", None, "basket/v1 with itself: name two versions"),
        ("basket/v1", WEAK, None, f"{WEAK}: never trained; run `recsys train --model-version {WEAK}`"),
        (WEAK, "basket/v1", None, f"{WEAK}: never trained; run `recsys train --model-version {WEAK}`"),
        ("basket/v1", "coupon/v1", None, "basket/v1 answers weekly_basket, coupon/v1 coupon_campaign: versions of one"),
        (
            "basket/v1",
            v4,
            earlier,
            "known at 2017-11-13 the last test decision of basket/v1 is of 2017-11-06: none is left that neither",
        ),
    ]
    for first, second, known_at, words in refusals:
        with pytest.raises(ModelError) as refused:
            compare(workspace, first, second, known_at)
        assert words in str(refused.value)


def test_a_version_that_was_edited_since_its_training_is_not_compared(
    searched: Searched, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, file = searched.workspace, cast("Path", searched.tuned.file)
    text = file.read_text()
    edit(file, lambda spec: spec["algorithm"].update(depth=9))
    monkeypatch.setattr(workspace, "catalog", open_workspace("local", workspace.root).catalog)
    file.write_text(text)
    with pytest.raises(ModelError, match=rf"{trained.weights.model_version}: its logic is .* undo the edit"):
        compare(workspace, "basket/v1", trained.weights.model_version)


# ---------------------------------------------------------------- on the command line


def test_both_print_a_table_and_one_json_document(
    searched: Searched, compared: Compared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned, file = searched.tuned, "registry/models/basket/v4.yaml"
    text = printing.tuned(tuned, searched.workspace).splitlines()
    assert text[0] == f"  3 trials of {WEAK}, judged on its validation requests of 2017-11-06, 2017-11-13"
    assert text[1].split() == ["trial", "ndcg@10/user", *tuned.declared.settings]
    assert [line.split()[0] for line in text[3:5]] == [str(tuned.best.number), str(3 - tuned.best.number)]
    assert text[5].startswith(f"  as declared        {tuned.declared.value:.4f}")
    assert text[6:] == [
        "  written for review: registry/models/basket/v4.yaml; then `recsys train --model-version basket/v4`"
    ]

    text = printing.compared(compared).splitlines()
    assert text[0].startswith("  basket/v1 (weights 1) and basket/v2 (weights 3) on ")
    assert text[1] == "  decided from 2017-11-13 to 2017-11-27, which neither learned from"
    assert text[2].split() == ["metric", "basket/v1", "basket/v2", "basket/v2", "over", "basket/v1"]
    assert [line.split()[0] for line in text[4:]] == [*compared.document["ratios"]]

    monkeypatch.chdir(searched.workspace.root)
    monkeypatch.setattr(sys, "argv", ["recsys", "tune", "--model-version", WEAK, "--trials", "3", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert not printed.err
    assert document == json.loads(json.dumps(printing.tuned_document(tuned, searched.workspace) | {"written": False}))
    assert document["file"] == file
    assert [trial["trial"] for trial in document["trials"]] == [0, 1, 2]


def test_whoever_ends_a_search_is_told_that_it_goes_on(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("recsys.workflows.modeling.tune.tune", ended)
    monkeypatch.chdir(shop.root)
    monkeypatch.setattr(sys, "argv", ["recsys", "tune", "--model-version", "basket/v2"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 130
    assert "finished trials are kept; the same command goes on with them" in capsys.readouterr().err


# ---------------------------------------------------------------- by hand


def weights_of(workspace: Workspace, version: str) -> Any:
    """Load a version's newest ranker."""
    found = [weights for weights in workspace.registry.search("basket") if weights.version == version]
    return workspace.registry.load(found[-1])


def weeks_of(workspace: Workspace, rows: pa.Table) -> NDArray[np.float64]:
    """Count what each request's household bought in the week after, straight from the events."""
    asked = rows.group_by([REQUEST, USER, EVENT_TIMESTAMP]).aggregate([])
    sql = """select r.request, count(distinct e.item_id) as relevant from asked r join events e
    on e.user_id = r.user_id and e.event_timestamp > r.event_timestamp
    and e.event_timestamp <= r.event_timestamp + interval 7 day
    where e.event_type = 'purchase' and e.quantity > 0 group by 1 order by 1"""
    counted = workspace.engine.query(sql, {"asked": asked, "events": workspace.events})
    relevant: NDArray[np.float64] = counted["relevant"].to_numpy().astype(np.float64)
    assert counted["request"].to_pylist() == list(range(len(relevant)))
    return relevant


def means(rows: pa.Table, scores: NDArray[np.float64], taken: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return each metric at 10 of each request that took anything."""
    ranked = top_k(
        scores,
        rows[LABEL].to_numpy().astype(np.float32),
        rows[REQUEST].to_numpy(),
        rows[ITEM_ROW].to_numpy(),
        len(taken),
        10,
    )
    return list_metrics(ranked.hits[taken > 0], taken[taken > 0])


def ratio_by_bootstrap(
    users: NDArray[np.str_], first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[float, float]:
    """Draw households, each with all its requests and both versions' values."""
    units, codes = np.unique(users, return_inverse=True)
    sums = np.stack([np.bincount(codes, each) for each in (first, second)], axis=1)
    draws = np.random.default_rng(7).integers(0, len(units), (2000, len(units)))
    drawn = sums[draws].sum(axis=1)
    low, high = np.quantile(drawn[:, 1] / drawn[:, 0], [0.025, 0.975])
    return float(low), float(high)
