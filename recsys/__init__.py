"""A declarative system for the whole life cycle of a shop recommender.

The packages, in the order of the life cycle, from the ground up:

- `errors`, `schema`: the exception tree and the column names.
- `specs`: what people declare under registry/, loaded and cross-checked.
- `ports`: what the core needs from the outside world.
- `statistics`: intervals, power and tests.
- `candidates`: which items may enter a list.
- `modeling`: labels, training sets, rankers, offline evaluation and the gate.
- `experiment`: bucketing, routing, allocation and its epochs.
- `serving`: item matrix, ranking, resolver and batch.
- `evaluation`: what an experiment did, by unit and in total.
- `decision`: the verdict, and the promotion that follows it.
- `adapters`: Feast, MLflow, CatBoost, DuckDB and SQL behind the ports.
- `workflows`: one module a command; the stages meet here.
- `wiring`: chooses the adapters of an environment.
- `web`, `cli`: HTTP and the command line.
"""

__version__ = "0.1.0"
