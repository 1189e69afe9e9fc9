"""What a server asks for before it shows its tools: a key, headers, variables of its process.

Values come from environment variables, so that none stands in a shell's history or in a list of processes. They go to
the server alone: tool sets do not hold them, and what is printed leaves them out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from labelspace.errors import ConfigError

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LEAST_SECRET = 4
"""Characters from which on a value is cut out of messages: what is shorter stands in every other word."""


@dataclass(frozen=True)
class Access:
    """What is sent along with requests for tools."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent to an address."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that a command gets, beside the harmless few that each gets."""

    @classmethod
    def of(cls, key: str | None = None, *, headers: Iterable[str] = (), environment: Iterable[str] = ()) -> Access:
        """Read the values from environment variables.

        Args:
            key: Variable of a key that is sent as a bearer token.
            headers: `NAME=VARIABLE` each: a header, and the variable that holds its value.
            environment: Names of variables.

        Raises:
            ConfigError: A variable is not set, or what it holds can't be sent.
        """
        found = {} if key is None else {"Authorization": f"Bearer {_value(key)}"}
        for header in headers:
            name, sign, variable = (part.strip() for part in header.partition("="))
            if not sign or not _HEADER.fullmatch(name) or not variable:
                raise ConfigError(
                    "a header is given as NAME=VARIABLE, with the environment variable that holds its value, "
                    "as in X-Api-Key=SHOP_KEY"  # what was given is not shown: it may be the key itself
                )
            if name.casefold() in map(str.casefold, found):
                raise ConfigError(f"the header {name!r} is given twice")
            found[name] = _value(variable)
        return cls(found, {name: _value(name) for name in environment})

    def check(self, sources: Iterable[str]) -> None:
        """See that what is secret goes to one place only, and to one that takes it.

        Raises:
            ConfigError: There are headers, but no address or several; or variables, but no command.
        """
        listed = list(sources)
        origins = {urlsplit(address)[:2] for source in listed if (address := address_in(source))}
        if self.headers and len(origins) != 1:
            given = "none is given" if not origins else f"these are {len(origins)}"
            raise ConfigError(f"a key or header is for the server at one address, and {given}")
        commands = sum(source.startswith("mcp:") for source in listed)
        if self.environment and commands != 1:
            given = "none is given" if not commands else f"these are {commands}"
            raise ConfigError(f"variables are for one server that is started by mcp:COMMAND, and {given}")

    def hide(self, text: str) -> str:
        """The text without the values: a server may repeat what it was sent."""
        values = [*self.environment.values(), *self.headers.values()]
        values += [value.removeprefix("Bearer ") for value in self.headers.values()]
        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _LEAST_SECRET:
                text = text.replace(value, "***")
        return text

    def refused(self, status: int) -> str:
        """What to say of a server that answers 401 or 403."""
        if self.headers:
            return f"it refuses the key that was sent (HTTP {status})"
        return f"it asks for a key (HTTP {status}): name the variable that holds it, with --key-env or --header"


def address_in(source: str) -> str:
    """The address that a source names; "" if it names none."""
    bare = source.removeprefix("openapi:")
    return bare if bare.startswith(("http://", "https://")) else ""


def _value(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        # A key that was typed instead of a variable must not be shown again.
        shown = f" {variable}" if re.fullmatch(r"[A-Z][A-Z0-9_]{0,39}", variable) else ""
        raise ConfigError(f"the environment variable{shown} is not set; give the name of the one that holds the value")
    if not value.isascii() or not value.isprintable():
        raise ConfigError(f"the environment variable {variable} holds what can't be sent: a line break, or no ASCII")
    return value
