"""How does a version's file read with other settings of its algorithm, and everything else as it stands?

So that a review sees in a diff what a search changed: comments, order and layout stay.
"""

from collections.abc import Mapping
from typing import Any, Final

import yaml

ALGORITHM: Final = "algorithm"


def with_settings(text: str, settings: Mapping[str, float | int]) -> str:
    """Return a model version's file with settings of its algorithm in place of its own.

    Args:
        text: YAML of a valid model version.
        settings: name of a field of the algorithm to its value; one that was left to its default is added below `type`.

    Returns:
        YAML that reads as `text` does, but for the settings.
    """
    fields = yaml.safe_load(text)
    fields[ALGORITHM] = dict(fields[ALGORITHM]) | dict(settings)
    try:
        edited = _edited(text, settings)
        if yaml.safe_load(edited) == fields:
            return edited
    except yaml.YAMLError:
        pass  # a layout, such as an anchor, that an edit in place breaks: the fields are what counts
    return str(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))


def _edited(text: str, settings: Mapping[str, float | int]) -> str:
    """Edit the text in place."""
    algorithm = _value(yaml.compose(text, Loader=yaml.SafeLoader), ALGORITHM)
    kind = _value(algorithm, "type")
    changes = []
    added = ""
    for name, value in settings.items():
        node = _value(algorithm, name)
        written = yaml.safe_dump(value).splitlines()[0]
        if node is not None:
            changes.append((node.start_mark.index, node.end_mark.index, written))
        elif algorithm.flow_style:
            added += f", {name}: {written}"
        else:
            added += f"\n{' ' * algorithm.start_mark.column}{name}: {written}"
    end = kind.end_mark.index
    if not algorithm.flow_style:
        end = text.find("\n", end) if "\n" in text[end:] else len(text)  # after the line's comment
    changes.append((end, end, added))
    for first, last, written in sorted(changes, reverse=True):
        text = text[:first] + written + text[last:]
    return text


def _value(mapping: Any, name: str) -> Any:  # noqa: ANN401 - YAML nodes have no useful types
    """Return the node of a field of a mapping, or None."""
    return next((value for key, value in mapping.value if key.value == name), None)
