"""`python -m mqcore.as_zmq program.py`: runs an unmodified program with mqcore in the place of pyzmq.

Also `-m module`, `-c code` and `-` (standard input), each as `python` itself would: `sys.argv`, `sys.path[0]`, `__main__`,
exit status and tracebacks are those of the program. Its Python child processes get mqcore too. Never changes files.
"""

from __future__ import annotations

import builtins
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader, SourcelessFileLoader
from importlib.util import find_spec
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from mqcore.install import install_as_zmq

_USAGE = """\
usage: python -m mqcore.as_zmq program.py [argument ...]
       python -m mqcore.as_zmq -m module [argument ...]
       python -m mqcore.as_zmq -c code [argument ...]
       python -m mqcore.as_zmq - [argument ...]

Runs a program that was written for pyzmq with mqcore in its place, in child processes too.
MQCORE_AS_ZMQ=0 in the environment of a child process leaves that one alone.
"""


def _fail(message: str, status: int) -> NoReturn:
    print(f"{sys.executable}: {message}", file=sys.stderr)
    raise SystemExit(status)


def _lead_path(entry: str) -> None:
    """Puts `entry` where `python -m` put the current directory, unless the interpreter is to have no such entry."""
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _new_main(**names: Any) -> ModuleType:
    """A fresh `__main__`."""
    module = ModuleType("__main__")
    module.__dict__.update(__builtins__=builtins, __annotations__={}, **names)
    sys.modules["__main__"] = module
    return module


def _main_of_spec(spec: ModuleSpec, name: str) -> tuple[CodeType, ModuleType]:
    """What `python -m` runs: the code of a module, in a `__main__` that knows its spec."""
    loader: Any = spec.loader
    get_code = getattr(loader, "get_code", None)
    code = get_code(spec.name) if get_code is not None else None
    if not isinstance(code, CodeType):
        _fail(f"No code object available for {name}", 1)
    return code, _new_main(
        __spec__=spec,
        __loader__=loader,
        __file__=spec.origin,
        __cached__=spec.cached,
        __package__=spec.parent,
    )


def _find_module(name: str) -> tuple[CodeType, ModuleType]:
    """The module that `-m name` runs: of a package, its `__main__`."""
    if name.startswith("."):
        _fail("Relative module names not supported", 1)
    wanted = name
    try:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            wanted = f"{name}.__main__"
            spec = find_spec(wanted)
            if spec is None:
                _fail(
                    f"No module named {wanted}; {name!r} is a package and cannot be directly executed",
                    1,
                )
    except (ImportError, ValueError) as error:
        # Not what the package itself could not import: that is the program's own traceback.
        missing = getattr(error, "name", None)
        if missing is not None and name != missing and not name.startswith(f"{missing}."):
            raise
        _fail(f"Error while finding module specification for {name!r} ({error})", 1)
    if spec is None:
        _fail(f"No module named {name}", 1)
    return _main_of_spec(spec, wanted)


def _open_program(path: str) -> tuple[CodeType, ModuleType]:
    """The program in a file, or the `__main__` in a directory or archive."""
    if os.path.isdir(path) or _is_archive(path):
        spec = PathFinder.find_spec("__main__", [path])
        if spec is None:
            _fail(f"can't find '__main__' module in {path!r}", 1)
        # Here the interpreter adds the entry even where it is to add none (`-P`).
        sys.path[0 : 0 if sys.flags.safe_path else 1] = [os.path.abspath(path)]
        return _main_of_spec(spec, path)
    absolute = os.path.abspath(path)
    _lead_path(os.path.dirname(os.path.realpath(path)))
    kind = SourcelessFileLoader if path.endswith(".pyc") else SourceFileLoader
    loader = kind("__main__", absolute)
    main = _new_main(
        __spec__=None, __loader__=loader, __file__=absolute, __cached__=None, __package__=None
    )
    try:
        data = loader.get_data(absolute)
    except OSError as error:
        _fail(f"can't open file {absolute!r}: [Errno {error.errno}] {error.strerror}", 2)
    if isinstance(loader, SourcelessFileLoader):
        code = loader.get_code("__main__")
        assert code is not None, "it raises ImportError instead"
        return code, main
    return compile(data, absolute, "exec", dont_inherit=True), main


def _is_archive(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    import zipfile

    return zipfile.is_zipfile(path)


def _compile_text(text: str | bytes, name: str) -> tuple[CodeType, ModuleType]:
    """Code that has no file."""
    _lead_path("")
    main = _new_main(__spec__=None, __loader__=None, __package__=None)
    return compile(text, name, "exec", dont_inherit=True), main


def _load(arguments: list[str]) -> tuple[CodeType, ModuleType]:
    """Reads the command line, and gives the program the `sys.argv` that is its own."""
    first, rest = arguments[0], arguments[1:]
    for option in ("-m", "-c"):
        if first.startswith(option):
            value = first[len(option) :]  # `-mmodule` is `-m module`
            if not value:
                if not rest:
                    _fail(f"Argument expected for the {option} option\n{_USAGE}", 2)
                value, rest = rest[0], rest[1:]
            sys.argv[:] = [option, *rest]
            if option == "-c":
                return _compile_text(value, "<string>")
            code, main = _find_module(value)
            sys.argv[0] = str(main.__file__)
            return code, main
    sys.argv[:] = arguments
    if first == "-":
        return _compile_text(sys.stdin.buffer.read(), "<stdin>")
    return _open_program(first)


def _hide_frames(code: CodeType | None) -> None:
    """Has the traceback that is about to be printed begin in the program."""
    show = sys.excepthook

    def show_program(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        while trace is not None and trace.tb_frame.f_code is not code:
            trace = trace.tb_next
        show(kind, error.with_traceback(trace), trace)

    sys.excepthook = show_program


def main() -> None:
    """Runs the program that the command line names."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        raise SystemExit(0 if arguments else 2)
    if arguments[0].startswith("-") and arguments[0][:2] not in ("-m", "-c", "-"):
        _fail(f"unknown option {arguments[0]}\n{_USAGE}", 2)
    install_as_zmq(children=True)
    code = None
    try:
        code, module = _load(arguments)
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except SyntaxError:
        _hide_frames(code)
        raise
    except BaseException:
        if code is not None:
            _hide_frames(code)
        raise


if __name__ == "__main__":
    main()
