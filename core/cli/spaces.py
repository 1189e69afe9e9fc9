"""Label spaces as the command line names them."""

from __future__ import annotations

from pathlib import Path

import click

from labelspace.errors import SpaceError
from labelspace.space import LabelSpace

SAMPLE = "sample:"
SHOWN = 40
"""Labels that are shown, at most."""

space_option = click.option(
    "--space", metavar="FILE", help="Label space, YAML or JSON; or sample:support.", required=True
)


def load_space(named: str) -> LabelSpace:
    """Read a space from a file, or the one of a sample.

    Raises:
        SpaceError: There is none, or it is not well formed.
    """
    if not named.startswith(SAMPLE):
        return LabelSpace.load(named)
    import labelspace.sample

    folder = Path(str(labelspace.sample.__file__)).parent
    name = named.removeprefix(SAMPLE).removesuffix(".space")
    known = sorted(path.name.removesuffix(".space.yaml") for path in folder.glob("*.space.yaml"))
    if name not in known:
        raise SpaceError(f"no sample space {named!r}; there are: {', '.join(SAMPLE + one for one in known)}")
    return LabelSpace.load(folder / f"{name}.space.yaml")


def space_lines(space: LabelSpace, sizes: dict[str, int]) -> list[str]:
    """The labels in their groups, with how many texts led to each where that is known."""
    shown = []
    for name in space.names:
        count = f"  ({sizes[name]:,} texts)" if name in sizes else ""
        shown.append(f"{'  ' * len(space.ancestors(name))}- {name}{count}")
    return shown if len(shown) <= SHOWN else [*shown[:SHOWN], f"... and {len(shown) - SHOWN} more"]
