"""What does a join ask of each feature view? Its source, keys, features and rules, by Feast's projections."""

from dataclasses import dataclass, replace
from datetime import timedelta

from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView

from recsys.adapters.asof_offline_store import sql
from recsys.adapters.asof_offline_store.entity_rows import EntityRows
from recsys.errors import FeatureError


@dataclass(frozen=True)
class ViewPlan:
    """One feature view of a join."""

    name: str
    source: DataSource
    pull: sql.Pull

    @classmethod
    def of(
        cls, view: FeatureView, feature_refs: list[str], *, full_feature_names: bool, known_only: bool
    ) -> "ViewPlan":
        """Plan the join of `view`.

        Raises:
            FeatureError: the view has no batch source.
        """
        source = view.batch_source
        if source is None:
            message = f"feature view {view.name!r} has no batch source, so no history; declare one"
            raise FeatureError(message)
        projection = view.projection
        prefix = f"{projection.name_to_use()}:"  # type: ignore[no-untyped-call]
        features = dict.fromkeys(ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix))
        base = projection.name_alias or view.name
        keys = tuple(
            (key.name, projection.join_key_map.get(key.name, key.name))
            for key in view.entity_columns
            if key.name != DUMMY_ENTITY_ID
        )
        created = source.created_timestamp_column or None
        pull = sql.Pull(
            keys=keys,
            features=tuple((f, f"{base}__{f}" if full_feature_names else f) for f in features),
            timestamp_field=source.timestamp_field,
            created_column=created if known_only else None,
            tie_column=created,
            ttl=sql.microseconds(view.ttl) if view.ttl and view.ttl > timedelta(0) else None,
        )
        return cls(view.name, source, pull)


def without_keys(plans: list[ViewPlan]) -> list[ViewPlan]:
    """Leave out features whose name is a key of the join: the entity rows already say its value."""
    keys = {name for plan in plans for _, name in plan.pull.keys}
    kept = (tuple(pair for pair in plan.pull.features if pair[1] not in keys) for plan in plans)
    return [replace(plan, pull=replace(plan.pull, features=pairs)) for plan, pairs in zip(plans, kept, strict=True)]


def check(plans: list[ViewPlan], entities: EntityRows) -> None:
    """Refuse entity rows without a key, and two columns of one name, which a reader could not tell apart.

    Raises:
        FeatureError: naming the first of them.
    """
    taken = dict.fromkeys(entities.table.column_names, "entity_df")
    for plan in plans:
        for _, name in plan.pull.keys:
            entities.column(name, plan.name)
        for _, name in plan.pull.features:
            if name in taken:
                message = (
                    f"column {name!r} of feature view {plan.name!r} is also a column of {taken[name]}: result names "
                    "must be unique; rename the entity column or ask for full_feature_names"
                )
                raise FeatureError(message)
            taken[name] = f"feature view {plan.name!r}"
