"""The parameters of a request, as a reader meets them: name, default, allowed values, help.

The help texts, ``MLproject`` and ``docs/parameters.md`` are all drawn from here, and this module
from the request models: no parameter is described twice.
"""

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lesion_transfer.stages.request import Request


@dataclass(frozen=True)
class Parameter:
    """One parameter, as text.

    Parameters
    ----------
    name
        As it is typed.
    description
        One line of help.
    default
        Empty where the parameter may be left out without a value.
    choices
        The allowed values, where they are few and fixed.
    numeric
        Whether the value is a number.
    """

    name: str
    description: str
    default: str
    choices: tuple[str, ...]
    numeric: bool


@dataclass(frozen=True)
class Group:
    """The parameters that one request class adds, under the first line of its docstring."""

    title: str
    parameters: tuple[Parameter, ...]


def groups(request_type: type[Request]) -> list[Group]:
    """Return the parameters by the class that declares them, the most specific class first."""
    found = []
    seen: set[str] = set()
    for base in request_type.__mro__:
        if not issubclass(base, Request):
            continue
        # A field that a subclass declares anew belongs to the subclass alone.
        names = [name for name in base.model_fields if _declares(base, name) and name not in seen]
        seen.update(names)
        if names:
            title = (base.__doc__ or base.__name__).splitlines()[0].rstrip(".")
            fields = request_type.model_fields
            found.append(Group(title, tuple(_parameter(name, fields[name]) for name in names)))
    return found


def parameters(request_type: type[Request]) -> list[Parameter]:
    """Return every parameter, in the order of :func:`groups`."""
    return [parameter for group in groups(request_type) for parameter in group.parameters]


def _declares(base: type[Request], name: str) -> bool:
    return name in inspect.get_annotations(base)


def _parameter(name: str, field: FieldInfo) -> Parameter:
    kinds = _kinds(field.annotation)
    return Parameter(
        name=name,
        description=field.description or "",
        default=_text(field.default),
        choices=tuple(choice for kind in kinds for choice in _choices(kind)),
        numeric=any(kind in (int, float) for kind in kinds),
    )


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """Return the types a value may have, None aside."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(kind for kind in get_args(annotation) if kind is not types.NoneType)
    return (annotation,)


def _choices(kind: Any) -> tuple[str, ...]:
    if kind is bool:
        return ("true", "false")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    return ()


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case Path():
            return value.as_posix()
    return str(value)
