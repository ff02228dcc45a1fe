"""What should be looked at, or done, after a verdict?"""

from typing import Final

from recsys.decision.verdict import Verdict, VerdictName

_STEPS: Final[dict[VerdictName, str]] = {
    VerdictName.INVALID: """\
Find the cause of each sentence above, repair it, and run a new experiment with a new seed.""",
    VerdictName.WAIT: """\
Let it run: a look before the planned end may stop it for harm only.""",
    VerdictName.SHIP: """\
`recsys promote {experiment}` makes {model_version} the champion, on record.""",
    VerdictName.REVIEW: """\
Decide by the guardrail's interval whether its harm would be acceptable, or run a longer experiment.""",
    VerdictName.ITERATE: """\
Leakage: `recsys dataset check --model-version {model_version}` derives every training row's clocks anew.
Skew: `recsys skew {experiment}` compares what {arm}'s requests read with the feature tables, and names the cause.
Position bias: compare the metric at fewer slots; a gain in the first slots alone may be their place's.
Wrong stage: in the funnel, find the stage after the one that moved which loses the gain; is it the label?""",
    VerdictName.UNDERPOWERED: """\
Plan again with more units or weeks, or with a larger minimum effect; do not extend this one after its end.""",
    VerdictName.STOP: """\
Keep the control; what was learned belongs into the next version's hypothesis.""",
}
"""A sentence a line."""


def next_steps(verdict: Verdict, experiment: str) -> tuple[str, ...]:
    """Return what follows, a sentence each.

    Args:
        verdict: of the experiment.
        experiment: its name.
    """
    words = {"experiment": experiment, "model_version": verdict.model_version, "arm": verdict.treatment_arm}
    return tuple(_STEPS[verdict.name].format(**words).splitlines())
