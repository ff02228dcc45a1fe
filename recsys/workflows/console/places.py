"""Which placements and audiences are there, and of which problem is each?"""

from recsys.specs.catalog import Catalog
from recsys.specs.placement import Audience, Placement


def places(catalog: Catalog) -> list[tuple[str, str, Placement | Audience]]:
    """Return every placement and audience: its kind, its name and its declaration."""
    found: list[tuple[str, str, Placement | Audience]] = []
    found += [("placement", *pair) for pair in catalog.placements.items()]
    found += [("audience", *pair) for pair in catalog.audiences.items()]
    return found


def problem_of(catalog: Catalog, place: str) -> str | None:
    """Return the problem of a placement or an audience; None where it is not declared any more."""
    return next((spec.problem for _, name, spec in places(catalog) if name == place), None)
