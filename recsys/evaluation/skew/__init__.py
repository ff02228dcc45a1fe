"""Are the features that requests were answered with those that the offline tables give, and if not, why?

Row by row: a logged value is compared with the value by the definition (the newest row that had happened and was known
at the request, within its TTL, then today's code), and where the two differ, with what each known cause would have
given. A cause is named where it gives the logged value, and by elimination only where nothing does.

- `rows`: `Logged` and `ViewRows`, what is compared: what was logged, and what the tables say under each assumption
- `worlds`: `Worlds`, every column as it would be under an assumption, also with one view set right
- `causes`: `Cause`, and `Causes`, which names why a value differs and in which views that lies
- `findings`: `Skew`, what a comparison comes to, by cause, view and feature
- `comparison`: `compare`, which goes through all values
"""
