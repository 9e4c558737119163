"""Runs first in the child processes of `python -m mqcore.as_zmq`: makes `import zmq` give mqcore there.

Its directory stands on PYTHONPATH for that alone. It hides no other sitecustomize: the next one on `sys.path` runs as if
this one were not there. Any Python 3 may come along here, so it is written for old ones too. It never imports mqcore.
"""

import os
import sys


def _take_place() -> None:
    """Has mqcore stand in for pyzmq, if this Python can."""
    if sys.version_info < (3, 11) or os.environ.get("MQCORE_AS_ZMQ") == "0":
        return
    from importlib.machinery import SourceFileLoader

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    name = "_mqcore_install"
    install = type(sys)(name)
    install.__file__ = os.path.join(package, "install.py")
    code = SourceFileLoader(name, install.__file__).get_code(name)
    assert code is not None
    exec(code, install.__dict__)
    install._start_in_child()


def _run_next() -> None:
    """Leaves `sys.path`, and the name sitecustomize to the one that would have it without us."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    sys.modules.pop("sitecustomize", None)
    import sitecustomize  # type: ignore  # noqa: F401  # if there is none: site expects the ImportError


try:
    _take_place()
except Exception:
    sys.excepthook(*sys.exc_info())  # the program may still do without
_run_next()
