"""mqcore in the place of pyzmq: `install_as_zmq` and `python -m mqcore.as_zmq`, each in a process of its own."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from peers.programs import Run

ECHO = """
import zmq
context = zmq.Context()
service = context.socket(zmq.REP)
client = context.socket(zmq.REQ)
port = service.bind_to_random_port("tcp://127.0.0.1")
client.connect(f"tcp://127.0.0.1:{port}")
client.send(b"hello")
service.send(service.recv().upper())
print(client.recv().decode(), zmq.__name__)
client.close()
service.close()
context.term()
"""
NO_PYZMQ = """
import sys

class NoPyzmq:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "zmq":
            raise ModuleNotFoundError(f"No module named {name!r} (refused by the test)", name=name)

sys.meta_path.insert(0, NoPyzmq())
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


# install_as_zmq.


def test_modules_of_zmq_are_the_modules_of_mqcore(run: Run) -> None:
    assert run.output(
        "-c",
        """if True:
        import mqcore
        mqcore.install_as_zmq()
        import zmq
        import zmq.poll as poll
        from zmq.error import ZMQError
        import mqcore.poll, mqcore.tracker, sys
        assert zmq is mqcore and sys.modules["zmq"] is mqcore
        assert poll is mqcore.poll is zmq.poll
        assert ZMQError is mqcore.ZMQError
        import zmq.tracker
        assert zmq.tracker is mqcore.tracker is sys.modules["zmq.tracker"]
        assert zmq.tracker.__spec__.name == "mqcore.tracker" == zmq.tracker.__name__
        from zmq import *
        assert Context is mqcore.Context
        print("the same")
        """,
    ) == ["the same"]


def test_old_import_paths_work(run: Run) -> None:
    pytest.importorskip("mqcore.utils.z85")
    pytest.importorskip("mqcore.sugar")
    run.output(
        "-c",
        """if True:
        import mqcore
        mqcore.install_as_zmq()
        import zmq.utils.z85 as z
        from zmq.sugar.socket import Socket
        import mqcore.utils.z85
        assert z is mqcore.utils.z85 and Socket is mqcore.Socket
        """,
    )


def test_import_system_answers_for_zmq_as_for_any_package(run: Run) -> None:
    run.output(
        "-c",
        """if True:
        import importlib, importlib.util, inspect, pkgutil, sys
        import mqcore
        mqcore.install_as_zmq()
        spec = importlib.util.find_spec("zmq.tracker")
        assert spec.name == "zmq.tracker" and spec.origin.endswith("tracker.py"), spec
        assert "MessageTracker" in spec.loader.get_source("zmq.tracker")
        assert "zmq.tracker" not in sys.modules
        assert importlib.util.find_spec("zmq.nothing_like_it") is None
        assert importlib.util.find_spec("zmq").submodule_search_locations == mqcore.__path__
        import zmq
        assert importlib.reload(zmq) is zmq is mqcore
        import zmq.tracker
        assert importlib.reload(zmq.tracker) is sys.modules["zmq.tracker"] is mqcore.tracker
        names = {module.name for module in pkgutil.iter_modules(zmq.__path__, "zmq.")}
        assert {"zmq.error", "zmq.constants"} <= names, names
        assert "class Poller" in inspect.getsource(zmq.Poller)
        try:
            import zmq.nothing_like_it
        except ModuleNotFoundError as error:
            assert error.name == "zmq.nothing_like_it"
        else:
            raise AssertionError
        """,
    )


def test_installing_twice_leaves_one_finder(run: Run) -> None:
    assert run.output(
        "-c",
        "import sys, mqcore; before = len(sys.meta_path); mqcore.install_as_zmq(); mqcore.install_as_zmq();"
        "print(len(sys.meta_path) - before)",
    ) == ["1"]


def test_pyzmq_imported_before_is_refused(run: Run) -> None:
    run.write("zmq/__init__.py", "")
    done = run("-c", "import zmq, mqcore; mqcore.install_as_zmq()")
    assert done.returncode == 1
    assert "RuntimeError: pyzmq was imported before mqcore could take its place" in done.stderr


def test_pyzmq_is_named_and_not_one_of_its_modules(run: Run) -> None:
    run.write("zmq/__init__.py", "import zmq.part")
    run.write("zmq/part.py", "")
    done = run("-c", "import zmq, mqcore; mqcore.install_as_zmq()")
    assert "(<module 'zmq' from " in done.stderr
    assert "python -m mqcore.as_zmq" in done.stderr


def test_importing_mqcore_does_not_import_the_installer(run: Run) -> None:
    assert run.output("-c", "import sys, mqcore; print('mqcore.install' in sys.modules)") == [
        "False"
    ]


def test_pyzmq_need_not_be_installed(run: Run) -> None:
    """The version that programs ask for is there as well; neither site-packages nor pyzmq is."""
    lines = run.output(
        "-S",
        "-c",
        f"""if True:
        {NO_PYZMQ.replace(chr(10), chr(10) + " " * 8)}
        import mqcore
        mqcore.install_as_zmq()
        import importlib.metadata as metadata, zmq
        print(metadata.version("pyzmq") == metadata.version("PyZMQ") == zmq.__version__)
        print([d.metadata["Name"] for d in metadata.distributions() if d.metadata["Name"] == "pyzmq"])
        print(metadata.packages_distributions()["zmq"], metadata.files("pyzmq"))
        print(list(metadata.distributions(name="pyzmq", path=["elsewhere"])))
        try:
            metadata.version("not-pyzmq")
        except metadata.PackageNotFoundError:
            print("no other")
        """,
    )
    assert lines == ["True", "['pyzmq']", "['pyzmq'] None", "[]", "no other"]


def test_version_of_an_installed_pyzmq_is_left_alone(run: Run) -> None:
    run.write("pyzmq-22.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: pyzmq\nVersion: 22.1")
    ask = (
        "import mqcore; mqcore.install_as_zmq(); import importlib.metadata as m;"
        "print(m.version('pyzmq'), sum(d.metadata['Name'] == 'pyzmq' for d in m.distributions()))"
    )
    assert run.output("-S", "-c", ask) == ["22.1 1"]


# python -m mqcore.as_zmq.


def test_unmodified_program_runs_on_mqcore(run: Run) -> None:
    program = run.write("echo.py", ECHO)
    assert run.output("-m", "mqcore.as_zmq", program) == ["HELLO mqcore"]


SEES = """
import sys, os
m = sys.modules["__main__"]
spec = m.__spec__ and m.__spec__.name
print(__name__, m.__dict__ is globals(), spec, m.__package__, type(m.__loader__).__name__)
print(getattr(m, "__file__", None), m.__doc__, m.__builtins__ is __import__("builtins"))
print(sys.argv, sys.path[0])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("program.py", "a", "-b"),
        ("folder/linked.py",),
        ("-m", "program", "-m", "x"),
        ("-mpackage.part",),
        ("-m", "package", "1"),
        ("folder", "x"),
        ("compiled.pyc",),
    ],
)
def test_program_sees_what_it_sees_under_python(run: Run, arguments: tuple[str, ...]) -> None:
    run.write("program.py", SEES)
    run.write("package/__init__.py", "")
    run.write("package/__main__.py", SEES)
    run.write("package/part.py", SEES)
    run.write("folder/__main__.py", SEES)
    os.symlink("../program.py", run.directory / "folder" / "linked.py")
    import py_compile

    py_compile.compile(
        str(run.directory / "program.py"), cfile=str(run.directory / "compiled.pyc"), doraise=True
    )
    plain, ours = run.both(*arguments)
    assert plain.returncode == 0, plain.stderr
    assert (ours.stdout, ours.stderr, ours.returncode) == (plain.stdout, plain.stderr, 0)


def test_code_and_standard_input_see_what_they_see_under_python(run: Run) -> None:
    show = "import sys, zlib; print(sys.argv, repr(sys.path[0]), __name__, __spec__, __package__)"
    for arguments, text in ((("-c", show, "a"), ""), (("-", "a"), show)):
        plain, ours = run.both(*arguments, input=text)
        assert plain.returncode == 0, plain.stderr
        assert (ours.stdout, ours.returncode) == (plain.stdout, 0), ours.stderr


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit(7)",
        "import sys; sys.exit('a last word')",
        "import sys; sys.exit()",
        "import os; os._exit(3)",
        "import atexit; atexit.register(print, 'the end'); print('begin')",
        "import threading as t; t.Thread(target=lambda: (t.main_thread().join(), print('late'))).start()",
        "def f():\n    1 / 0\nf()",
        "try:\n    1 / 0\nexcept Exception as error:\n    raise ValueError('second') from error",
        "import sys\nsys.excepthook = lambda *a: print('hooked', a[0], a[2].tb_lineno)\nint('x')",
        "import not_there_at_all",
        "this is no python",
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    ],
)
def test_program_ends_as_under_python(run: Run, text: str) -> None:
    """Exit status, output and the traceback, without a line of ours in it."""
    program = run.write("program.py", text)
    plain, ours = run.both(program)
    assert (ours.returncode, ours.stdout, ours.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )


def test_interrupt_ends_the_process_by_the_signal(run: Run) -> None:
    program = run.write("program.py", "raise KeyboardInterrupt")
    assert run("-m", "mqcore.as_zmq", program).returncode == -signal.SIGINT


def test_what_cannot_be_run_is_told_as_python_tells_it(run: Run) -> None:
    run.write("package/__init__.py", "")
    run.write("broken/__init__.py", "import not_there_at_all")
    for arguments in (("absent.py",), ("-m", "absent"), ("-m", "package")):
        plain, ours = run.both(*arguments)
        assert (ours.returncode, ours.stderr) == (plain.returncode, plain.stderr), arguments
    plain, ours = run.both("-m", "broken")
    assert ours.returncode == plain.returncode == 1
    assert ours.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1]


def test_wrong_command_line_shows_the_usage(run: Run) -> None:
    for arguments in ((), ("-x",), ("-m",), ("-c",)):
        done = run("-m", "mqcore.as_zmq", *arguments)
        assert done.returncode == 2 and "usage: python -m mqcore.as_zmq" in done.stderr
    assert run.output("-m", "mqcore.as_zmq", "--help")[0].startswith("usage: ")


def test_program_needs_no_pyzmq(run: Run) -> None:
    program = run.write("program.py", NO_PYZMQ.replace("insert(0,", "insert(1,") + ECHO)
    assert run.output("-S", "-m", "mqcore.as_zmq", program) == ["HELLO mqcore"]
