"""How are settings searched? Optuna's tree-structured Parzen estimator, its trials in a SQLite file.

Bergstra et al., Algorithms for hyper-parameter optimization, NIPS 2011. Trials are written one by one, so a search that
was ended goes on where it stopped.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.errors import StoreError
from recsys.ports import Range, Settings, Trial


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
        import sqlalchemy.exc

        try:
            return self._maximize(name, objective, space, first, trials, tried)
        except sqlalchemy.exc.SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            message = f"trials in {self._database}: {reason}; free disk space, or remove the file to begin anew"
            raise StoreError(message) from error

    def _maximize(
        self,
        name: str,
        objective: Callable[[Settings], float],
        space: Mapping[str, Range],
        first: Settings,
        trials: int,
        tried: Callable[[Trial, Trial], None],
    ) -> Sequence[Trial]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._database.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{self._database}")
        try:
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True, sampler=self._sampler(0)
            )
            if not study.trials:
                study.enqueue_trial(dict(first))
            while len(done := _finished(study)) < trials:
                # A sampler of its own for each trial: a search that goes on draws what one that went through would.
                study.sampler = self._sampler(len(done))
                study.optimize(lambda trial: objective(_asked(trial, space)), n_trials=1)
                done = _finished(study)
                tried(done[-1], max(done, key=lambda trial: trial.value))
            return done
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def _sampler(self, trial: int) -> Any:  # noqa: ANN401 - optuna.samplers.BaseSampler
        import optuna

        return optuna.samplers.TPESampler(seed=self._seed + trial)


def _asked(trial: Any, space: Mapping[str, Range]) -> dict[str, float | int]:  # noqa: ANN401 - optuna.Trial
    settings: dict[str, float | int] = {}
    for name, values in space.items():
        if values.whole:
            settings[name] = trial.suggest_int(name, int(values.low), int(values.high), log=values.logarithmic)
        else:
            settings[name] = trial.suggest_float(name, values.low, values.high, log=values.logarithmic)
    return settings


def _finished(study: Any) -> list[Trial]:  # noqa: ANN401 - optuna.Study
    import optuna

    kept = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return [Trial(trial.number, dict(trial.params), float(trial.value)) for trial in kept]
