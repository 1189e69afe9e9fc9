"""What every head owes to scikit-learn: parameters by name, and what kind of estimator it is."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from labelspace.config import Config, validate
from labelspace.errors import ConfigError

Self = TypeVar("Self", bound="Estimator")


class Estimator:
    """An estimator whose constructor keeps each argument under its name."""

    _estimator_type = "classifier"  # for scikit-learn before 1.6
    multi_label: bool

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the constructor's arguments."""
        return list(inspect.signature(cls.__init__).parameters)[1:]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, for `sklearn.clone` and searches.

        Args:
            deep: Also those within an argument that is a `Config`, such as `training__epochs`.
        """
        found = {name: getattr(self, name) for name in self.parameter_names()}
        if deep:
            for name, value in list(found.items()):
                if isinstance(value, Config):
                    found |= {f"{name}__{key}": getattr(value, key) for key in type(value).model_fields}
        return found

    def set_params(self: Self, **params: Any) -> Self:
        """Set arguments of the constructor; `training__epochs=3` sets one within another.

        Raises:
            ConfigError: There is none of that name, or a value does not fit.
        """
        known = self.get_params(deep=False)
        for name, value in params.items():
            outer, _, inner = name.partition("__")
            if outer not in known or (inner and not isinstance(known[outer], Config)):
                raise ConfigError(
                    f"{type(self).__name__} has no parameter {name!r}; it has: {', '.join(sorted(known))}"
                )
            held = getattr(self, outer)
            if inner:
                origin = f"{type(self).__name__}.{outer}"
                setattr(self, outer, validate(type(held), {**held.model_dump(), inner: value}, origin=origin))
            else:
                setattr(self, name, value)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        several = getattr(self, "multi_label", False)
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True, multi_output=several),
            classifier_tags=ClassifierTags(multi_label=several),
            input_tags=InputTags(string=True, two_d_array=False),
        )

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params(deep=False).items())
        return f"{type(self).__name__}({given})"
