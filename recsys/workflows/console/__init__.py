"""What does the console show? Documents of what is declared, registered, decided and kept; nothing is changed.

- `source`: all of them, from declarations that are read again when a file changes
- `overview`: from business issues to experiments, and what needs attention
- `problems`: one problem, and the placement that asks for its lists
- `models`: one registered model: weights, champion, lineage, offline report, record
- `experiments`: one experiment: traffic, stage, report
"""
