"""Does every search of settings begin with what is declared, stay inside, count right, and go on where it ended?"""

import math
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

import optuna
import pytest

from recsys.adapters.optuna_search import OptunaSearch
from recsys.errors import ModelError, StoreError
from recsys.ports import Range, Settings, SettingsSearch, Trial
from tests.fakes.search import FakeSearch

SPACE: Final = {
    "depth": Range(1, 8, whole=True),
    "leaf": Range(1, 200, whole=True, logarithmic=True),
    "rate": Range(0.01, 1.0, logarithmic=True),
    "chance": Range(0.0, 4.0),
}
FIRST: Final = {"depth": 6, "leaf": 1, "rate": 0.1, "chance": 4.0}

Make = Callable[..., SettingsSearch]


@pytest.fixture(params=["optuna", "fake"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Open each search in turn, as often as asked: another process, with its own seed."""
    kept: dict[str, list[Trial]] = {}
    if request.param == "optuna":
        return lambda seed=0: OptunaSearch(tmp_path / "tuning" / "basket-v2.db", seed)
    return lambda seed=0: FakeSearch(kept, seed)


class Objective:
    """A hill over the settings, which remembers what it was asked."""

    def __init__(self, breaks_at: int | None = None, error: BaseException | None = None) -> None:
        """Raise an error at the n-th call, counted from 0."""
        self.asked: list[dict[str, float | int]] = []
        self._breaks_at, self._error = breaks_at, error

    def __call__(self, settings: Settings) -> float:
        """Return less, the further away from the top."""
        self.asked.append(dict(settings))
        if self._error is not None and len(self.asked) - 1 == self._breaks_at:
            raise self._error
        away = (settings["depth"] - 3, math.log10(settings["rate"]) + 1.5, settings["chance"] - 1)
        return -sum(each**2 for each in away)


def silent(_trial: Trial, _best: Trial) -> None:
    """Tell nobody."""


def test_what_is_declared_is_tried_first_and_there_are_so_many_trials(make: Make) -> None:
    objective = Objective()
    done = make().maximize("a", objective, SPACE, FIRST, 5, silent)
    assert objective.asked[0] == FIRST
    assert [trial.number for trial in done] == [0, 1, 2, 3, 4]
    assert [trial.settings for trial in done] == objective.asked
    assert [trial.value for trial in done] == [Objective()(settings) for settings in objective.asked]
    assert len({tuple(settings.items()) for settings in objective.asked}) == 5


def test_all_that_is_tried_lies_inside(make: Make) -> None:
    done = make().maximize("a", Objective(), SPACE, FIRST, 15, silent)
    for trial in done:
        assert trial.settings.keys() == SPACE.keys()
        for name, values in SPACE.items():
            value = trial.settings[name]
            assert values.low <= value <= values.high
            assert isinstance(value, int) == values.whole
    for name in SPACE:
        assert len({trial.settings[name] for trial in done}) > 3


def test_each_trial_is_told_once_with_the_best_so_far(make: Make) -> None:
    told: list[tuple[Trial, Trial]] = []
    done = make().maximize("a", Objective(), SPACE, FIRST, 8, lambda trial, best: told.append((trial, best)))
    assert [trial for trial, _ in told] == list(done)
    for number, (_, best) in enumerate(told):
        assert best.value == max(trial.value for trial in done[: number + 1])
    assert told[-1][1].value > done[0].value  # larger is better


def test_a_search_goes_on_as_one_that_was_not_ended(make: Make) -> None:
    whole = make().maximize("whole", Objective(), SPACE, FIRST, 7, silent)
    make().maximize("parts", Objective(), SPACE, FIRST, 3, silent)
    objective, told = Objective(), list[Trial]()

    parts = make().maximize("parts", objective, SPACE, FIRST, 7, lambda trial, _: told.append(trial))

    assert list(parts) == list(whole)
    assert objective.asked == [trial.settings for trial in whole[3:]]
    assert told == list(whole[3:])


def test_a_search_that_has_enough_tries_nothing(make: Make) -> None:
    done = make().maximize("a", Objective(), SPACE, FIRST, 3, silent)
    objective = Objective()
    assert list(make().maximize("a", objective, SPACE, FIRST, 2, silent)) == list(done)
    assert not objective.asked


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ModelError("no rows")], ids=["interrupt", "error"])
@pytest.mark.parametrize("at", [0, 2])
def test_a_trial_that_was_broken_off_does_not_count(make: Make, at: int, error: BaseException) -> None:
    """Not even the first: what is declared is tried first all the same."""
    whole = make().maximize("whole", Objective(), SPACE, FIRST, 4, silent)
    with pytest.raises(type(error)):
        make().maximize("broken", Objective(at, error), SPACE, FIRST, 4, silent)
    objective = Objective()

    done = make().maximize("broken", objective, SPACE, FIRST, 4, silent)

    assert list(done) == list(whole)
    assert len(objective.asked) == 4 - at


def test_searches_of_other_names_are_apart(make: Make) -> None:
    make().maximize("a", Objective(), SPACE, FIRST, 3, silent)
    objective = Objective()
    other = make().maximize("b", objective, {"depth": SPACE["depth"], "rate": SPACE["rate"]} | SPACE, FIRST, 2, silent)
    assert len(other) == len(objective.asked) == 2
    assert len(make().maximize("a", Objective(), SPACE, FIRST, 3, silent)) == 3


def test_a_seed_gives_the_same_trials_and_another_one_others(make: Make) -> None:
    first, again, other = (
        make(seed).maximize(name, Objective(), SPACE, FIRST, 4, silent) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert list(first) == list(again)
    assert first[0] == other[0]
    assert first[1:] != other[1:]


def test_settings_that_come_again_are_not_tried_again(make: Make) -> None:
    asked: list[Settings] = []

    def objective(settings: Settings) -> float:
        asked.append(settings)
        return float(settings["depth"])

    told: list[Trial] = []
    done = make().maximize(
        "a", objective, {"depth": Range(1, 3, whole=True)}, {"depth": 2}, 9, lambda trial, _: told.append(trial)
    )
    assert len(done) == len(told) == 9
    assert len(asked) == len({settings["depth"] for settings in asked}) <= 3
    assert all(trial.value == trial.settings["depth"] for trial in done)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_refused(make: Make, value: float) -> None:
    with pytest.raises(ModelError, match=r"'depth': 6.*cannot be compared"):
        make().maximize("a", lambda _: value, SPACE, FIRST, 3, silent)


# ---------------------------------------------------------------- Optuna


def test_a_trial_of_a_killed_process_neither_counts_nor_changes_what_follows(tmp_path: Path) -> None:
    search = OptunaSearch(tmp_path / "trials.db")
    whole = search.maximize("whole", Objective(), SPACE, FIRST, 13, silent)
    search.maximize("killed", Objective(), SPACE, FIRST, 11, silent)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'trials.db'}")
    optuna.load_study(study_name="killed", storage=storage).ask()  # and no tell: it stays running
    storage.remove_session()
    storage.engine.dispose()
    assert list(search.maximize("killed", Objective(), SPACE, FIRST, 13, silent)) == list(whole)


def test_it_learns_from_what_it_has_tried(tmp_path: Path) -> None:
    done = OptunaSearch(tmp_path / "trials.db").maximize("a", Objective(), SPACE, FIRST, 30, silent)
    drawn = [trial.value for trial in done[1:11]]
    learned = [trial.value for trial in done[-10:]]
    assert sum(learned) > sum(drawn)
    assert max(learned) > max(drawn)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        OptunaSearch(tmp_path / "trials.db").maximize("a", Objective(1, KeyboardInterrupt()), SPACE, FIRST, 3, silent)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("damage", ["text", "folder", "no folder", "locked"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = tmp_path / "tuning" / "trials.db"
    database.parent.mkdir()
    holder = None
    if damage == "text":
        database.write_text("no database, and long enough to be taken for one that is damaged" * 20)
    elif damage == "folder":
        database.mkdir()
    elif damage == "no folder":
        database.parent.rmdir()
        database.parent.write_text("a file in the way")
    else:
        OptunaSearch(database).maximize("a", Objective(), SPACE, FIRST, 1, silent)
        monkeypatch.setattr("sqlite3.dbapi2.connect", _impatient(sqlite3.connect))
        holder = sqlite3.connect(database, isolation_level=None)
        holder.execute("begin exclusive")
    objective = Objective()
    with pytest.raises(StoreError, match=r"trials in trials\.db: [^\n]+; check .* tuning/ .* remove the file"):
        OptunaSearch(database).maximize("a", objective, SPACE, FIRST, 3, silent)
    assert not objective.asked
    if holder is not None:
        holder.close()


def _impatient(connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
    return lambda *args, **options: connect(*args, **(options | {"timeout": 0}))
