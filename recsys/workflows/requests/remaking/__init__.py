"""What was a logged answer made from? The state of its moment, read anew from the offline store and the event log.

What several answers have in common, the online store of a moment, is read once.

- `states`: `PastStates`, the items, units, candidate sources and weights of a moment
- `sessions`: `PastSessions`, what a session had done until then
- `answers`: `Remaking`, which puts the two together for a list, or for a campaign's contact
"""
