"""What does the console show? Documents of what is declared, registered, decided and kept; nothing is changed.

- `source`: all of them, from declarations that are read again when a file changes
- `memory`: which of them need not be made again; `registered`, what the registry says at one look
- `overview`: from business issues to experiments, and what needs attention
- `beginning`: what is to be done first in a new project
- `places`: placements and audiences, and the problem of each
- `problems`: one problem, and the placement that asks for its lists
- `models`: one registered model: weights, champion, lineage, offline report, record
- `experiments`: one experiment: traffic, stage, report
- `requests`: which were answered of late, to be explained
"""
