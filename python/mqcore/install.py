"""`import zmq` gives mqcore: for programs and libraries that were written for pyzmq.

A finder at the front of `sys.meta_path` answers for `zmq` and `zmq.*` with the modules of mqcore themselves, never with a
second copy. This file imports nothing of mqcore before it is asked for `zmq`, because each child process of
`python -m mqcore.as_zmq` runs it when it starts (`_children/sitecustomize.py`). It never touches an installed pyzmq.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import Distribution, DistributionFinder
    from types import CodeType, ModuleType
    from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_CHILDREN = os.path.join(_PACKAGE, "_children")
"""The directory that children have on PYTHONPATH: nothing but a sitecustomize.py."""


def _real_name(name: str) -> str | None:
    """`mqcore.x` for `zmq.x`, None for modules of others."""
    if name == "zmq" or name.startswith("zmq."):
        return "mqcore" + name[len("zmq") :]
    return None


class _AliasLoader:
    """Gives the module of mqcore for a module of zmq; what asks for its code or source gets the real one's."""

    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Imports the real module, if nobody has, and returns it."""
        from importlib import import_module

        module = import_module(self._real.name)
        # The import system is about to write the alias into `__spec__`: exec_module puts this back.
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Runs nothing: the module ran when it was imported."""
        module.__spec__ = self._own_spec

    def is_package(self, fullname: str) -> bool:
        """Whether it is a package."""
        return self._real.submodule_search_locations is not None

    def get_code(self, fullname: str) -> CodeType | None:
        """The code of the real module, for `python -m zmq.x`."""
        loader: Any = self._real.loader
        return loader.get_code(self._real.name)  # type: ignore[no-any-return]

    def get_source(self, fullname: str) -> str | None:
        """The source of the real module."""
        loader: Any = self._real.loader
        return loader.get_source(self._real.name)  # type: ignore[no-any-return]

    def get_filename(self, fullname: str) -> str:
        """The file of the real module."""
        loader: Any = self._real.loader
        return loader.get_filename(self._real.name)  # type: ignore[no-any-return]

    def get_data(self, path: str) -> bytes:
        """The bytes of a file beside the real module."""
        loader: Any = self._real.loader
        return loader.get_data(path)  # type: ignore[no-any-return]

    def get_resource_reader(self, fullname: str) -> Any:
        """What `importlib.resources` asks the real module."""
        loader: Any = self._real.loader
        return loader.get_resource_reader(self._real.name)


class _AliasFinder:
    """Finds `zmq.x` where mqcore has an `x`, and a distribution called pyzmq where there is none."""

    mqcore_alias = True
    """By this a second install knows the first one, also if each loaded this file for itself."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of an alias; None for what is not below zmq, and for what mqcore does not have."""
        real_name = _real_name(name)
        if real_name is None:
            return None
        from importlib.util import find_spec

        real = find_spec(real_name)
        if real is None:
            return None
        is_package = real.submodule_search_locations is not None
        loader: Any = _AliasLoader(real)
        spec = ModuleSpec(name, loader, origin=real.origin, is_package=is_package)
        if is_package:
            spec.submodule_search_locations = real.submodule_search_locations
        spec.has_location = real.has_location
        return spec

    def invalidate_caches(self) -> None:
        """Has no caches."""

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """pyzmq, for `importlib.metadata`, if somebody asks for it or for all and no pyzmq is installed."""
        from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder

        context = DistributionFinder.Context() if context is None else context
        if context.name is not None and context.name.lower() != "pyzmq":
            return []
        if list(context.path) != sys.path:
            return []  # somebody looks into given directories: we are in none
        if any(MetadataPathFinder.find_distributions(DistributionFinder.Context(name="pyzmq"))):
            return []

        class PyzmqByMqcore(Distribution):
            """What mqcore stands in for."""

            def read_text(self, filename: str) -> str | None:
                if filename == "METADATA":
                    from mqcore import __version__

                    return (
                        "Metadata-Version: 2.1\nName: pyzmq\n"
                        f"Version: {__version__}\nSummary: mqcore in the place of pyzmq\n"
                    )
                return "zmq\n" if filename == "top_level.txt" else None

            def locate_file(self, path: Any) -> Any:
                from pathlib import Path

                return Path(os.path.dirname(_PACKAGE)) / path

        return [PyzmqByMqcore()]


class _LastResort:
    """Finds mqcore beside this file, for children whose `sys.path` does not lead to it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of the package mqcore."""
        if name != "mqcore":
            return None
        return PathFinder.find_spec(name, [os.path.dirname(_PACKAGE)])


def _is_installed() -> bool:
    return any(getattr(finder, "mqcore_alias", False) is True for finder in sys.meta_path)


def _refuse_pyzmq() -> None:
    """Raises RuntimeError if modules of another zmq are there already."""
    for name, module in sorted(sys.modules.items()):  # zmq itself before what it has imported
        real_name = _real_name(name)
        if real_name is None:
            continue
        if module is None:
            del sys.modules[name]  # "not to be imported", from somebody who did not know of mqcore
        elif module is not sys.modules.get(real_name):
            raise RuntimeError(
                f"pyzmq was imported before mqcore could take its place ({module!r}): call "
                "install_as_zmq() before anything imports zmq, or start the program by "
                "`python -m mqcore.as_zmq`"
            )


def install_as_zmq(*, children: bool = False) -> None:
    """From now on `import zmq`, and the import of any `zmq.x.y`, gives the modules of mqcore in this process.

    They are the same objects: `zmq is mqcore`, `zmq.Socket is mqcore.Socket`. pyzmq need not be installed; if it is
    not, `importlib.metadata.version("pyzmq")` answers with the version whose interface this is.

    `children`: also in the Python processes that this one starts from now on, and in theirs, by a directory that is
    put first on PYTHONPATH in `os.environ`. Not reached are children that ignore PYTHONPATH or do not import `site`
    (`python -I`, `-E`, `-S`), children whose environment is replaced, and those whose Python cannot load mqcore's
    native module. MQCORE_AS_ZMQ=0 in the environment of a child leaves it alone.

    Call it before anything imports zmq; calling it again does nothing more. Raises RuntimeError if pyzmq was imported
    before.
    """
    import mqcore

    _refuse_pyzmq()
    if not _is_installed():
        finder: Any = _AliasFinder()
        sys.meta_path.insert(0, finder)
    sys.modules["zmq"] = mqcore
    if children:
        _share_with_children()


def _share_with_children() -> None:
    """Puts the directory with our sitecustomize first on PYTHONPATH."""
    before = os.environ.get("PYTHONPATH", "")
    if _CHILDREN not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = _CHILDREN + (os.pathsep + before if before else "")


def _start_in_child() -> None:
    """What the sitecustomize of a child calls: the finder, without importing mqcore yet.

    Does nothing where this Python cannot load mqcore: pyzmq stays what it is there.
    """
    from importlib.machinery import EXTENSION_SUFFIXES

    native = os.path.join(_PACKAGE, "_core")
    if _is_installed() or not any(os.path.exists(native + end) for end in EXTENSION_SUFFIXES):
        return
    if "zmq" in sys.modules:
        return  # a .pth file was faster; install_as_zmq() would say so
    finder: Any = _AliasFinder()
    last: Any = _LastResort()
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(last)


__all__ = ["install_as_zmq"]
