"""The child processes of a program under `python -m mqcore.as_zmq` get mqcore in the place of pyzmq too."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers.programs import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


TELL = "import zmq, sys; print(zmq.__name__, flush=True)"
SUBPROCESS = f"""
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", {TELL!r}]).returncode)
"""


def test_subprocess_gets_mqcore_too(run: Run) -> None:
    program = run.write("program.py", SUBPROCESS)
    assert run.output("-m", "mqcore.as_zmq", program) == ["mqcore"]


def test_children_of_children_get_mqcore_too(run: Run) -> None:
    program = run.write(
        "program.py",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SUBPROCESS!r}])",
    )
    assert run.output("-m", "mqcore.as_zmq", program) == ["mqcore"]


def test_module_started_in_a_child_gets_mqcore_too(run: Run) -> None:
    """As jupyter starts its kernels: `sys.executable -m ipykernel_launcher`."""
    run.write("launcher.py", TELL)
    program = run.write(
        "program.py", "import subprocess, sys; subprocess.run([sys.executable, '-m', 'launcher'])"
    )
    assert run.output("-m", "mqcore.as_zmq", program) == ["mqcore"]


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_child_of_multiprocessing_gets_mqcore_and_the_program(run: Run, method: str) -> None:
    program = run.write(
        "program.py",
        f"""
        import multiprocessing as m
        import zmq

        class Thing:
            def __init__(self, value):
                self.value = value

        def work(pipe, thing):
            context = zmq.Context()
            with context.socket(zmq.PAIR) as a, context.socket(zmq.PAIR) as b:
                a.bind("inproc://child")
                b.connect("inproc://child")
                a.send(thing.value)
                pipe.send((zmq.__name__, b.recv(), Thing(b"back")))
            context.term()

        if __name__ == "__main__":
            context = m.get_context({method!r})
            here, there = context.Pipe()
            child = context.Process(target=work, args=(there, Thing(b"there")))
            child.start()
            name, value, thing = here.recv()
            child.join()
            print(name, value, thing.value, child.exitcode)
        """,
    )
    expected = "mqcore b'there' b'back' 0"
    assert run.output("-m", "mqcore.as_zmq", program) == [expected]
    assert run.output("-m", "mqcore.as_zmq", "-m", "program") == [expected]


def test_child_finds_mqcore_without_a_path_to_it(run: Run) -> None:
    """mqcore found by `sys.path` of the parent alone, pyzmq nowhere."""
    start = f"""if True:
    import sys, subprocess
    sys.path.insert(0, {run.home!r})
    import mqcore
    mqcore.install_as_zmq(children=True)
    subprocess.run([sys.executable, "-c", {TELL!r}])
    """
    assert run.output("-c", start, env={"PYTHONPATH": ""}) == ["mqcore"]


def test_path_of_the_user_stays_on_pythonpath_and_ours_is_not_seen(run: Run) -> None:
    run.write("extra/mine.py", "print('mine')")
    show = "import sys, mine; print([entry for entry in sys.path if 'mqcore' in entry])"
    program = run.write(
        "program.py",
        f"""
        import os, subprocess, sys
        env = dict(os.environ)
        env["PYTHONPATH"] = "another" + os.pathsep + env["PYTHONPATH"]
        subprocess.run([sys.executable, "-c", {show!r}], env=env)
        subprocess.run([sys.executable, "-c", {TELL!r}], env=env)
        """,
    )
    extra = str(run.directory / "extra")
    lines = run.output("-m", "mqcore.as_zmq", program, path=extra)
    assert lines[0] == "mine" and lines[2] == "mqcore"
    assert "_children" not in lines[1]


def test_sitecustomize_of_the_user_still_runs(run: Run) -> None:
    run.write(
        "site/sitecustomize.py", "print('custom', __file__.endswith('site/sitecustomize.py'))"
    )
    show = "import sys; print(sys.modules['sitecustomize'].__file__.count('_children'))"
    program = run.write(
        "program.py",
        f"""
        import subprocess, sys
        for code in ({TELL!r}, {show!r}):
            subprocess.run([sys.executable, "-c", code])
        """,
    )
    lines = run.output(
        "-m",
        "mqcore.as_zmq",
        program,
        path=str(run.directory / "site"),
        env={"PYTHONUNBUFFERED": "1"},
    )
    assert lines == ["custom True", "custom True", "mqcore", "custom True", "0"]


def test_without_a_sitecustomize_there_is_none(run: Run) -> None:
    show = "import sys; print(sys.modules.get('sitecustomize'))"
    program = run.write(
        "program.py", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {show!r}])"
    )
    plain, ours = run.both(program)
    assert ours.stdout == plain.stdout and ours.stderr == plain.stderr == ""


def test_failing_sitecustomize_is_told_as_without_us(run: Run) -> None:
    run.write("site/sitecustomize.py", "raise OSError('broken on purpose')")
    program = run.write("program.py", SUBPROCESS)
    done = run("-m", "mqcore.as_zmq", program, path=str(run.directory / "site"))
    assert done.stdout.split() == ["mqcore"]
    assert done.stderr.count("OSError: broken on purpose") == 2


def test_child_can_be_left_alone(run: Run) -> None:
    run.write("zmq/__init__.py", "")
    program = run.write(
        "program.py",
        f"""
        import os, subprocess, sys
        subprocess.run([sys.executable, "-c", {TELL!r}], env={{**os.environ, "MQCORE_AS_ZMQ": "0"}})
        """,
    )
    assert run.output("-m", "mqcore.as_zmq", program) == ["zmq"]


def test_isolated_child_is_not_reached(run: Run) -> None:
    program = run.write(
        "program.py",
        """
        import subprocess, sys
        code = "import sys; print([f for f in sys.meta_path if hasattr(f, 'mqcore_alias')])"
        subprocess.run([sys.executable, "-I", "-c", code])
        """,
    )
    assert run.output("-m", "mqcore.as_zmq", program) == ["[]"]
