"""Which things can go wrong, and under which name a caller catches them.

RecsysError
├── SpecError          a declaration under registry/ or feature_repo/ is wrong
├── DataError          events or catalogue rows break their contract, or are missing
├── FeatureError       a feature table, view or store cannot give what was asked
│   └── ContextError       a request says something that its placement's context does not take
├── LeakageError       a training set knows more than its decision times did
├── ModelError         a model version, its weights or its gate cannot give what was asked
├── ExperimentError    an assignment, a replay or an evaluation is not allowed
├── DecisionError      a promotion or rollback is refused
├── AddressError       a service may not listen where it was told to
└── StoreError         the event log, the ledger or the registry cannot be reached or written
    └── OnlineStoreError   the same of an online store; it is a FeatureError too

Every message names the thing, its value, the rule, and what to do; the command line prints it as one line and exits 1.
"""

from collections.abc import Sequence


class RecsysError(Exception):
    """Base of every error that recsys raises on purpose."""


class SpecError(RecsysError):
    """One or more declarations are wrong.

    Attributes:
        problems: every finding, each as `path: field: value: rule`.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep all findings; the message is one line a finding."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(RecsysError):
    """Events or catalogue rows break their contract, or are missing."""


class FeatureError(RecsysError):
    """A feature table, view or store cannot give what was asked of it."""


class ContextError(FeatureError):
    """A request says something that its placement's context does not take; the value itself is not told.

    Attributes:
        name: the field of the context.
        rule: what it breaks.
    """

    def __init__(self, name: str, rule: str) -> None:
        """Keep both; the message is `context.name: rule`."""
        self.name = name
        self.rule = rule
        super().__init__(f"context.{name}: {rule}")


class LeakageError(RecsysError):
    """A training set knows more than its decision times did.

    Attributes:
        violations: every rule that is broken, with its view, rows and an example.
    """

    def __init__(self, what: str, violations: Sequence[str]) -> None:
        """Keep all violations; the message is one line a violation."""
        self.violations = tuple(violations)
        super().__init__("\n".join(f"{what}: {violation}" for violation in self.violations))


class ModelError(RecsysError):
    """A model version, its weights or its gate cannot give what was asked of it."""


class ExperimentError(RecsysError):
    """An assignment, a replay or an evaluation is not allowed."""


class DecisionError(RecsysError):
    """A promotion or a rollback is refused."""


class AddressError(RecsysError):
    """A service may not listen where it was told to."""


class StoreError(RecsysError):
    """The event log, the ledger or the registry cannot be reached or written."""


class OnlineStoreError(FeatureError, StoreError):
    """An online store cannot be reached, read or written; what it was asked may be right."""
