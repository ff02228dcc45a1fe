"""One module a command, in one package a stage: the only place where the stages of the life cycle meet.

- `declarations`: what is declared, whether it holds together, and how it differs from what was applied
- `environment`: whether an environment can work
- `data`, `problem`, `features`: the shop's data, which problem is worth a model, feature tables and the online store
- `modeling`: training sets, training, tuning, comparison
- `serving`: how a resolver is put together; `batches`: lists of all units, and campaigns
- `experiments`: power, replay, evaluation; `decision`: promotion
- `requests`: why one list is as it is; `monitoring`: skew, drift, diagnosis
- `console`: what the pages are made from
- `workspace`: what a command works on; `exclusive`: who may work on a part of it now
"""
