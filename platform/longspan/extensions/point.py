"""One kind of extension: how its classes are named, found and checked.

A class is named in the recipe: as one of the built-in names, as `module:Class`, or by the name of an entry point that
an installed package declares. Nothing registers itself when it is imported.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from longspan.errors import UserError

ALLOWED = "LONGSPAN_EXTENSIONS"
"""Environment variable of whoever runs a job: modules, separated by commas, whose classes a recipe may name."""

_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class ExtensionPoint:
    """A kind of class that can be added from outside the package.

    Attributes:
        what: the kind, for messages.
        group: entry point group in which packages declare such classes.
        methods: required methods, each with the names of its positional parameters.
        base: class to derive from, as `module:Class`; None if the methods suffice.
        builtin: names that the package itself defines, with their classes as `module:Class`, or None for a name
            that is not a class.
        takes_options: whether the recipe has options for its constructor.
    """

    what: str
    group: str
    methods: Mapping[str, tuple[str, ...]]
    base: str | None = None
    builtin: Mapping[str, str | None] = field(default_factory=dict)
    takes_options: bool = True

    def require_name(self, name: str) -> str:
        """Return a name that is built in, `module:Class`, or an installed entry point. Nothing is imported.

        Raises:
            ValueError: it is none of these; the nearest name is given.
        """
        if name in self.builtin or _REFERENCE.fullmatch(name) or name in self._installed():
            return name
        known = [*self.builtin, *self._installed()]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise ValueError(
            f"unknown {self.what} {name!r}{hint}; give one of {', '.join(known)}, or a class of yours as module:Class"
        )

    def require_allowed(self, name: str, key: str) -> None:
        """Refuse `module:Class` of a module that whoever runs the job has not allowed; called before it is imported.

        A recipe may be somebody else's, and must not choose what code is run. What is installed as an extension is
        allowed by its installation.

        Raises:
            UserError: it is not allowed.
        """
        module = name.partition(":")[0]
        allowed = {each.strip() for each in os.environ.get(ALLOWED, "").split(",")}
        packages = [module[:end] for end in _ends(module)]
        if ":" in name and not allowed.intersection(packages):
            raise UserError(
                f"{key}: the recipe names code ({name}), which runs only if you allow it; if you trust it, set "
                f"{ALLOWED}={packages[0]} in the environment of the job's driver (docs/extend.md)"
            )

    def load(self, name: str, key: str) -> type[Any]:
        """Return the class of a name, imported and checked.

        Args:
            name: as in the recipe.
            key: recipe key that names it, for messages.

        Raises:
            UserError: it cannot be imported, or is not a class of this kind.
        """
        try:
            self.require_name(name)
        except ValueError as error:
            raise UserError(f"{key}: {error}") from None
        reference = self._reference(name, key)
        found = _imported(reference, key)
        self._require_kind(found, reference, key)
        if missing := _missing_package(found):
            raise UserError(
                f"{key}: {name} needs the package {missing}, which is not installed in {sys.prefix}; "
                f"install it on all nodes of the workers ({_install_hint(name, missing, reference)})"
            )
        return found

    def _reference(self, name: str, key: str) -> str:
        """Return what a name stands for, as `module:Class`."""
        if name in self.builtin:
            reference = self.builtin[name]
            assert reference, f"{key}: {name} has no class"
            return reference
        if ":" in name:
            return name
        references = {each.value for each in entry_points(group=self.group, name=name)}
        if len(references) > 1:
            raise UserError(
                f"{key}: several installed packages declare a {self.what} {name!r} ({', '.join(sorted(references))}); "
                "name the class as module:Class"
            )
        return references.pop()

    def _installed(self) -> list[str]:
        return sorted({each.name for each in entry_points(group=self.group)})

    def _require_kind(self, found: Any, reference: str, key: str) -> None:
        if not inspect.isclass(found):
            raise UserError(
                f"{key}: {reference} is a {type(found).__name__}, not a class; name the class"
            )
        if self.base:
            base = _imported(self.base, key)
            if not issubclass(found, base):
                raise UserError(
                    f"{key}: {reference} is not a {self.what}: derive the class from {self.base.replace(':', '.')}"
                )
        if not self.takes_options and not _takes(found, 0):
            raise UserError(
                f"{key}: {reference} cannot be made without arguments, and a {self.what} takes no options; "
                "give its parameters defaults"
            )
        for name, parameters in self.methods.items():
            method = getattr(found, name, None)
            signature = f"{name}({', '.join(parameters)})"
            if not callable(method) or getattr(method, "__isabstractmethod__", False):
                raise UserError(
                    f"{key}: {reference} has no method {signature}, which each {self.what} needs; add it"
                )
            if not _takes(method, len(parameters) + 1):
                raise UserError(
                    f"{key}: {reference}.{name} cannot be called as {signature}; its parameters are "
                    f"{inspect.signature(method)}"
                )


def _ends(module: str) -> list[int]:
    """Lengths of the names of a module and of the packages around it, the outermost first."""
    return [at for at, character in enumerate(module + ".") if character == "."]


def _imported(reference: str, key: str) -> Any:
    module, _, name = reference.partition(":")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise UserError(
            f"{key}: module {module} cannot be imported ({type(error).__name__}: {error}); it has to be importable "
            "here and in every worker: install it on all nodes, or ship it with the job (docs/extend.md)"
        ) from error
    if not hasattr(found, name):
        near = difflib.get_close_matches(name, vars(found), n=1)
        hint = f"; the nearest name is {near[0]}" if near else ""
        raise UserError(f"{key}: module {module} has no class {name}{hint}")
    return getattr(found, name)


def _takes(method: Any, count: int) -> bool:
    """Whether a function takes so many positional arguments, a method's `self` included."""
    try:
        inspect.signature(method).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _missing_package(found: type[Any]) -> str | None:
    """The first package in a class's `requires` that cannot be found; none of them is imported."""
    names = getattr(found, "requires", ())
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def _install_hint(name: str, package: str, reference: str) -> str:
    own = reference.startswith("longspan.")
    return f"pip install 'longspan[{name}]'" if own else f"pip install {package}"
