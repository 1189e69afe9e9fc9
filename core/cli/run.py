"""`labelspace run`: a recipe with a config, as one resumable folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

EPILOG = """\b
CONFIG is the name of a config that comes with labelspace, or a YAML file of your own. A file may name
its recipe (`recipe: pipeline`, which is also the default); every other key is a field of that recipe.
KEY=VALUE pairs override the file; values are read as YAML.

\b
The resolved config is printed, and saved with the run. After a stop, the same command goes on:
what is done is kept, and only what a change affects is done again.

\b
Example:
  labelspace run pipeline out=runs/first max_labels=12"""


def shipped_configs() -> dict[str, Path]:
    """Path of each config that comes with labelspace, by name."""
    import labelspace.configs

    folder = Path(str(labelspace.configs.__file__)).parent
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_recipe(config: str, overrides: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Find the recipe of a config and validate the config against it.

    Args:
        config: Name of a shipped config, or path of a YAML file.
        overrides: `key=value` pairs.

    Returns:
        The recipe's module and its config.

    Raises:
        ConfigError: There is no such config or recipe, or a key or value does not fit.
    """
    from importlib import import_module
    from typing import get_type_hints

    from labelspace.config import apply_overrides, read_yaml, validate
    from labelspace.errors import ConfigError

    shipped = shipped_configs()
    path = shipped.get(config, Path(config))
    if config not in shipped and not path.exists():
        raise ConfigError(f"there is no config {config!r}; give a YAML file, or one of: {', '.join(shipped)}")
    data = apply_overrides(read_yaml(path), overrides)
    name = data.pop("recipe", config if config in shipped else "pipeline")
    if name not in shipped:
        raise ConfigError(f"{path}: there is no recipe {name!r}; there are: {', '.join(shipped)}")
    recipe = import_module(f"labelspace.recipes.{name}")
    return recipe, validate(get_type_hints(recipe.main)["config"], data, origin=str(path))


def _print_list(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        for name, path in shipped_configs().items():
            click.echo(f"{name:28} {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')}")
        ctx.exit()


@click.command(epilog=EPILOG)
@click.argument("config")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_print_list, help="List the shipped configs."
)
@click.option("--print", "only_print", is_flag=True, help="Print the resolved config and do nothing.")
def command(config: str, overrides: tuple[str, ...], only_print: bool) -> None:
    """Run a recipe: discover, label, train and evaluate, or one of the measurements that we state."""
    from labelspace.config import to_yaml
    from labelspace.progress import note

    recipe, resolved = load_recipe(config, overrides)
    if only_print:
        click.echo(to_yaml(resolved), nl=False)
        return
    note(to_yaml(resolved))
    recipe.main(resolved)
