"""Options as attributes, for contexts and sockets.

No class here has a `__getattr__`: with one, Python looks up every attribute of a socket in the slow way, and makes an
object for each call of a method, which costs more than `send` or `recv` does. So each constant has two names in the
class, of small letters and of capitals, and reading in mixed case is not possible.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar

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


class _Option:
    """A constant in the class: it reads as the option of that number of the instance.

    It has no `__set__`, so that a value in the instance's `__dict__` comes first. The class itself has no such attribute.
    """

    __slots__ = ("name", "number")

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number

    def __repr__(self) -> str:
        return f"<option {self.name}>"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            name = getattr(owner, "__name__", None)
            raise AttributeError(f"{name} has no option {self.name}: its instances have")
        return instance._get_attr_opt(self.name, self.number)


_OPTIONS: dict[str, _Option] = {
    name: _Option(name, number)
    for name, number in vars(constants).items()
    if isinstance(number, int) and name.isupper()
}
_OPTIONS.update({name.lower(): option for name, option in _OPTIONS.items()})
"""The constants by their names, in capitals and in small letters."""


def _ordinary(cls: type, key: str) -> bool:
    """Whether `key` is an attribute of the class that stands for no option."""
    for base in cls.__mro__:
        if key in base.__dict__:
            return not isinstance(base.__dict__[key], _Option)
    return False


class AttributeSetter:
    """Reads and writes options as attributes, in small letters or capitals: `socket.linger = 0`, `socket.LINGER`.

    A name that the instance or a class of its hierarchy has (or declares by an annotation) is an ordinary
    attribute. Any other must be the name of a constant: AttributeError if it is none, or if the option cannot be read.
    """

    locals().update(_OPTIONS)  # at once: to set each one when the class is there takes longer
    _declared_names: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._declared_names = _declared(cls)
        # Options stand behind all that the classes have, also those that come later in the order.
        later = cls.__mro__[cls.__mro__.index(AttributeSetter) + 1 :]
        for base in later:
            for key in base.__dict__.keys() & _OPTIONS.keys():
                if not _ordinary(cls, key):
                    setattr(cls, key, base.__dict__[key])

    def __setattr__(self, key: str, value: Any) -> None:
        cls = type(self)
        if key in self.__dict__ or key in self._declared_names or _ordinary(cls, key):
            object.__setattr__(self, key, value)
            return
        name = key.upper()
        option = _OPTIONS.get(name)
        if option is None:
            raise AttributeError(f"{cls.__name__} has no such option: {name}")
        self._set_attr_opt(name, option.number, value)

    if TYPE_CHECKING:

        def __getattr__(self, key: str) -> Any: ...

    def __dir__(self) -> list[str]:
        own = self.__dict__
        return [
            key
            for key in super().__dir__()
            if key not in _OPTIONS or key in own or _ordinary(type(self), key)
        ]

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
