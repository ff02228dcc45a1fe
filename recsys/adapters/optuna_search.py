"""How are settings searched? Optuna's tree-structured Parzen estimator, its trials in a SQLite file.

Bergstra et al., Algorithms for hyper-parameter optimization, NIPS 2011. Trials are written one by one, so a search that
was ended goes on where it stopped.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import ModelError, StoreError
from recsys.ports import Range, Settings, Trial

if TYPE_CHECKING:
    import optuna


class OptunaSearch:
    """`ports.SettingsSearch` on Optuna."""

    def __init__(self, database: Path, seed: int = 0) -> None:
        """Keep where the trials go, and the seed of the sampler; nothing is written yet."""
        self._database = database
        self._seed = seed

    def maximize(
        self,
        name: str,
        objective: Callable[[Settings], float],
        space: Mapping[str, Range],
        first: Settings,
        trials: int,
        tried: Callable[[Trial, Trial], None],
    ) -> Sequence[Trial]:
        """Try settings until there are so many finished trials; see the port."""
        with self._study(name) as study:
            while len(done := self._finished(study)) < trials:
                trial, settings = self._asked(study, space, None if done else first, len(done))
                try:
                    value = _known(done, settings)
                    if value is None:
                        value = _number(objective(settings), settings)
                except BaseException:
                    self._tell(study, trial, None)
                    raise
                self._tell(study, trial, value)
                done = self._finished(study)
                tried(done[-1], max(done, key=lambda each: each.value))
            return done

    # -------------------------------------------------------- the study in its file

    @contextmanager
    def _study(self, name: str) -> Generator["optuna.Study"]:
        """Open a study, or make it; the file is let go of at the end."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self._failures(RuntimeError):  # RuntimeError: of another Optuna's tables
            self._database.parent.mkdir(parents=True, exist_ok=True)
            storage = optuna.storages.RDBStorage(f"sqlite:///{self._database}")
        try:
            with self._failures():
                study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _asked(
        self, study: "optuna.Study", space: Mapping[str, Range], first: Settings | None, number: int
    ) -> "tuple[optuna.Trial, dict[str, float | int]]":
        """Begin a trial: with `first`, where nothing is finished yet, else with what the sampler draws."""
        import optuna

        with self._failures():
            waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
            if first is not None and not waiting:
                study.enqueue_trial(dict(first))
            # A sampler of its own for each trial, which overlooks those that were broken off (constant_liar would not):
            # a search that goes on draws what one that went through would.
            study.sampler = optuna.samplers.TPESampler(seed=self._seed + number, constant_liar=False)
            trial = study.ask()
            return trial, {setting: _drawn(trial, setting, values) for setting, values in space.items()}

    def _tell(self, study: "optuna.Study", trial: "optuna.Trial", value: float | None) -> None:
        """Write what a trial gave; None where it did not come to an end."""
        import optuna

        with self._failures():
            study.tell(trial, value, None if value is not None else optuna.trial.TrialState.FAIL)

    def _finished(self, study: "optuna.Study") -> list[Trial]:
        """Return the finished trials in their order, counted from 0: those that were broken off have no number."""
        import optuna

        with self._failures():
            kept = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [Trial(number, dict(trial.params), float(trial.value)) for number, trial in enumerate(kept)]

    @contextmanager
    def _failures(self, *others: type[Exception]) -> Generator[None]:
        import optuna
        import sqlalchemy.exc

        try:
            yield
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, OSError, *others) as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            message = (
                f"trials in {self._database.name}: {reason}; check that this user may write into"
                f" {self._database.parent.name}/ and that the disk has space, or remove the file to begin anew"
            )
            raise StoreError(message) from error


def _drawn(trial: "optuna.Trial", name: str, values: Range) -> float | int:
    drawn: float | int
    if values.whole:
        drawn = trial.suggest_int(name, int(values.low), int(values.high), log=values.logarithmic)
    else:
        drawn = trial.suggest_float(name, values.low, values.high, log=values.logarithmic)
    return drawn


def _known(done: Sequence[Trial], settings: Settings) -> float | None:
    """Return what the same settings gave before."""
    return next((trial.value for trial in done if trial.settings == settings), None)


def _number(value: float, settings: Settings) -> float:
    if not math.isfinite(value):
        message = f"settings {dict(settings)}: their value is {value}: what is not a number cannot be compared"
        raise ModelError(message)
    return value
