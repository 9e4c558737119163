"""Options as attributes, for contexts and sockets."""

from __future__ import annotations

import errno
from typing import Any, ClassVar

from mqcore import constants
from mqcore.error import ZMQError

OptValT = int | bytes | str


def _declared(cls: type) -> frozenset[str]:
    """The names that a class of the hierarchy declares by a bare annotation."""
    names: set[str] = set()
    for base in cls.__mro__:
        names.update(base.__dict__.get("__annotations__") or ())
        annotate = base.__dict__.get("__annotate_func__") or base.__dict__.get("__annotate__")
        if callable(annotate):  # Python 3.14 and newer: annotations are made when asked for
            import annotationlib  # type: ignore[import-not-found, unused-ignore]

            names.update(
                annotationlib.get_annotations(base, format=annotationlib.Format.FORWARDREF)
            )
    return frozenset(names)


class AttributeSetter:
    """Reads and writes options as attributes, in any case: `socket.linger = 0`, `socket.LINGER`.

    A name that the instance or a class of its hierarchy has (or declares by an annotation) is an ordinary
    attribute. Any other must be the name of a constant: AttributeError if it is none, or if the option cannot be read.
    """

    _declared_names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declared_names = _declared(cls)

    def __setattr__(self, key: str, value: Any) -> None:
        if (
            key in self.__dict__
            or key in self._declared_names
            or any(key in base.__dict__ for base in type(self).__mro__)
        ):
            object.__setattr__(self, key, value)
            return
        name = key.upper()
        option = getattr(constants, name, None)
        if not isinstance(option, int):
            raise AttributeError(f"{type(self).__name__} has no such option: {name}")
        self._set_attr_opt(name, option, value)

    def __getattr__(self, key: str) -> Any:
        name = key.upper()
        option = getattr(constants, name, None)
        if not isinstance(option, int):
            raise AttributeError(f"{type(self).__name__} has no such option: {name}")
        return self._get_attr_opt(name, option)

    def _set_attr_opt(self, name: str, option: int, value: OptValT) -> None:
        """Sets the option behind the attribute `name`; subclasses may refine it."""
        self.set(option, value)

    def _get_attr_opt(self, name: str, option: int) -> Any:
        """Reads the option behind the attribute `name`; subclasses may refine it."""
        try:
            return self.get(option)
        except ZMQError as error:
            if error.errno in (errno.EINVAL, errno.EFAULT):
                raise AttributeError(f"{name} attribute is write-only") from None
            raise

    def get(self, option: int) -> Any:
        """Returns the value of the option `option`, a number. Subclasses have it: NotImplementedError here."""
        raise NotImplementedError

    def set(self, option: int, optval: Any) -> None:
        """Sets the option `option`, a number, to `optval`. Subclasses have it: NotImplementedError here."""
        raise NotImplementedError


__all__ = ["AttributeSetter", "OptValT"]
