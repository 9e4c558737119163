"""The version of pyzmq whose interface this is, also in numbers. It is kept in `mqcore.__version__` alone."""

from __future__ import annotations

from mqcore import (
    __revision__,
    __version__,
    pyzmq_version,
    pyzmq_version_info,
    zmq_version,
    zmq_version_info,
)

VERSION_MAJOR, VERSION_MINOR, VERSION_PATCH = pyzmq_version_info()
VERSION_EXTRA = ""
"""What a version that is not released has behind its numbers."""
version_info = pyzmq_version_info()

__all__ = [
    "__revision__",
    "__version__",
    "pyzmq_version",
    "pyzmq_version_info",
    "zmq_version",
    "zmq_version_info",
]
