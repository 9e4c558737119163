"""The rules of the house as tests: who may import whom, where unsafe code may stand, what a protocol must not know,
why each dependency is there, and how long a file may grow.
"""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "rust" / "mqcore" / "src"
PROTOCOL = ROOT / "rust" / "mqcore-proto" / "src"
CRATES = ROOT / "rust"


def floors() -> list[set[str]]:
    """The engine's modules from the bottom up, as ARCHITECTURE.md draws them: a module may import what stands on an
    earlier line, and itself."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    picture = text.split("## Import order", 1)[1].split("```")[1]
    return [set(re.split(r"  +", line.strip())[:-1]) for line in picture.strip().splitlines()]


NEVER = {"pattern": {"io", "transport", "mailbox"}}
"""What a module may not import although it stands above it."""

UNSAFE_ALLOWED = {"mqcore/src/pipe/ring.rs", "mqcore-py/src/frame.rs"}
LONGEST = 800
MAY_BE_LONGER: dict[str, str] = {}
"""Files over the limit, each with its reason."""


def sources(*folders: Path) -> list[Path]:
    """The Rust files below these folders, without build output and modules that only tests compile."""
    files = [file for folder in folders for file in sorted(folder.rglob("*.rs"))]
    found = [file for file in files if "target" not in file.parts and not is_for_tests(file)]
    assert found, folders
    return found


TEST_MODULE = re.compile(
    r"#\[cfg\([^\]]*\btest\b[^\]]*\)\]\s*(?:#\[[^\]]*\]\s*)*(?:pub )?mod (\w+);"
)


def is_for_tests(file: Path) -> bool:
    """Whether the file's module is declared under `#[cfg(test)]` or the like."""
    name, folder = (
        (file.parent.name, file.parent.parent) if file.stem == "mod" else (file.stem, file.parent)
    )
    parents = [folder / "lib.rs", folder / "mod.rs", folder.parent / f"{folder.name}.rs"]
    return any(
        name in TEST_MODULE.findall(p.read_text()) for p in parents if p.exists() and p != file
    )


def without_comments(text: str) -> str:
    """The source with comments blanked out, line numbers kept."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    return re.sub(r"//[^\n]*", "", text)


def without_tests(text: str) -> str:
    """The source up to its unit tests, which stand last and may look anywhere."""
    return re.split(r"#\[cfg\((?:all\()?test\b[^\n]*\]\s*(?:#\[[^\n]*\]\s*)*mod ", text)[0]


def module_of(file: Path) -> str:
    """The top-level module of the engine that a file belongs to."""
    first = file.relative_to(ENGINE).parts[0]
    return first.removesuffix(".rs")


USES = re.compile(r"\bcrate::(?:\{(?P<group>[^;]*?)\}\s*;|(?P<one>\w+))", re.S)


def imports_of(text: str) -> list[tuple[int, str]]:
    """Line and top-level module of each `crate::X`, also inside `use crate::{a::B, c}`."""
    found = []
    for match in USES.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["one"]:
            found.append((line, match["one"]))
        else:
            depth, start = 0, 0
            group = match["group"] + ","
            for at, sign in enumerate(group):
                depth += (sign == "{") - (sign == "}")
                if sign == "," and depth == 0:
                    name = re.match(r"\s*(\w+)", group[start:at])
                    if name:
                        found.append((line, name[1]))
                    start = at + 1
    return found


def test_imports_are_found_in_all_their_forms():
    text = "use crate::io;\nuse crate::{pipe::{Pipe, Waker}, sync};\nlet x = crate::socket::Socket::new();\n"
    assert imports_of(text) == [(1, "io"), (2, "pipe"), (2, "sync"), (3, "socket")]


def test_modules_import_only_what_stands_above_them():
    floor = {name: n for n, names in enumerate(floors()) for name in names}
    assert {"error", "pipe", "pattern", "io", "socket"} <= set(floor), floor
    offences = []
    for file in sources(ENGINE):
        module = module_of(file)
        if module == "lib":
            continue
        assert module in floor, (
            f"{file.relative_to(ROOT)}: give the new module {module!r} a place in ARCHITECTURE.md"
        )
        for line, name in imports_of(without_tests(without_comments(file.read_text()))):
            if name not in floor or name == module:
                continue
            if floor[name] >= floor[module] or name in NEVER.get(module, ()):
                offences.append(f"{file.relative_to(ROOT)}:{line}: {module} imports crate::{name}")
    assert not offences, "\n".join(offences)


def test_names_of_lib_are_not_used_to_go_round_the_order():
    """`crate::Socket` (a re-export) would hide where something comes from; only lib.rs writes those."""
    reexports = set(re.findall(r"pub use \w+::\{?([^;}]*)", (ENGINE / "lib.rs").read_text()))
    names = {name.strip().split("::")[-1] for group in reexports for name in group.split(",")}
    own = {"Context", "Socket", "PollItem", "Pollable", "poll"} & names
    offences = []
    for file in sources(ENGINE):
        if module_of(file) == "lib":
            continue
        for line, name in imports_of(without_tests(without_comments(file.read_text()))):
            if name in own - {module_of(file)} and not (ENGINE / f"{name}.rs").exists():
                offences.append(f"{file.relative_to(ROOT)}:{line}: crate::{name}")
    assert not offences, "\n".join(offences)


def test_unsafe_stands_in_two_files_only():
    offences = []
    for file in sources(CRATES):
        name = str(file.relative_to(CRATES))
        if name in UNSAFE_ALLOWED or name.startswith("fuzz/"):
            continue
        for number, line in enumerate(without_comments(file.read_text()).splitlines(), 1):
            if (
                re.search(r"\bunsafe\b", line)
                and "unsafe_code" not in line
                and "unsafe_op" not in line
            ):
                offences.append(f"{name}:{number}: {line.strip()}")
    assert not offences, "\n".join(offences)


def test_every_unsafe_block_is_argued_for():
    for name in UNSAFE_ALLOWED:
        file = CRATES / name
        if not file.exists():
            continue
        lines = file.read_text().splitlines()
        for number, line in enumerate(lines):
            if re.search(r"\bunsafe\s*(\{|impl)", line.split("//")[0]):
                above = "\n".join(lines[max(0, number - 8) : number + 1])
                assert "SAFETY:" in above, f"{name}:{number + 1}: {line.strip()}"


@pytest.mark.parametrize(
    "what",
    ["std::net", "std::thread", "Instant::now", "SystemTime::now", "std::fs", "mio::", "socket2"],
)
def test_protocol_knows_no_sockets_clocks_or_threads(what):
    for file in sources(PROTOCOL):
        text = without_tests(without_comments(file.read_text()))
        assert what not in text, f"{file.relative_to(ROOT)} uses {what}"


def test_patterns_see_pipes_and_messages_only():
    for file in sources(ENGINE / "pattern"):
        text = without_tests(without_comments(file.read_text()))
        for what in (
            "mio::",
            "std::net",
            "std::thread",
            "crate::io",
            "crate::transport",
            "crate::mailbox",
        ):
            assert what not in text, f"{file.relative_to(ROOT)} uses {what}"


def test_engine_knows_no_python():
    for folder in (ENGINE, PROTOCOL):
        for file in sources(folder):
            assert "pyo3" not in without_comments(file.read_text()), file.relative_to(ROOT)


def test_engine_has_no_lock_of_the_whole_process():
    """A thread that held one while another forks would leave it locked in the child for ever."""
    for folder in (ENGINE, PROTOCOL):
        for file in sources(folder):
            text = without_tests(without_comments(file.read_text()))
            found = re.search(r"\bstatic \w+:[^;=]*(Lazy|Once|Mutex|RwLock)\w*", text)
            assert not found, f"{file.relative_to(ROOT)}: {found and found.group()}"


def manifests() -> list[Path]:
    return [ROOT / "Cargo.toml", *sorted(CRATES.glob("*/Cargo.toml"))]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: str(m.relative_to(ROOT)))
def test_every_dependency_says_why_it_is_there(manifest):
    offences, in_dependencies = [], False
    for number, line in enumerate(manifest.read_text().splitlines(), 1):
        if header := re.match(r"\[(.+)\]\s*(#.*)?$", line):
            in_dependencies = header[1].endswith("dependencies")
        elif in_dependencies and re.match(r"[\w-]+(\.\w+)?\s*=", line):
            is_own = re.search(r'path\s*=\s*"\.\.?/', line)
            if not is_own and not re.search(r"#\s*\S{3,}", line):
                offences.append(f"{manifest.relative_to(ROOT)}:{number}: {line}")
    assert not offences, "\n".join(offences)


def test_every_member_of_the_workspace_says_why_it_is_there():
    text = (ROOT / "Cargo.toml").read_text()
    for member in tomllib.loads(text)["workspace"]["members"]:
        assert re.search(rf'"{re.escape(member)}",?\s*#\s*\S', text), member


def test_edition_and_lints_are_the_same_everywhere():
    for manifest in manifests()[1:]:
        if manifest.parent.name == "fuzz":
            continue
        content = tomllib.loads(manifest.read_text())
        assert content["package"]["edition"] == {"workspace": True}, manifest
        assert content["lints"] == {"workspace": True}, manifest


def tracked_text_files() -> list[Path]:
    """Files of the repository that people read: sources, tests, texts, settings; no build output."""
    kinds = {
        ".rs",
        ".py",
        ".pyi",
        ".md",
        ".toml",
        ".yml",
        ".yaml",
        ".sh",
        ".cfg",
        ".txt",
        ".json",
        ".csv",
        "",
    }
    skip = {
        "target",
        ".venv",
        ".git",
        "__pycache__",
        "build",
        "dist",
        ".pytest_cache",
        ".hypothesis",
        "node_modules",
    }
    found = []
    for file in sorted(ROOT.rglob("*")):
        parts = file.relative_to(ROOT).parts
        if (
            file.is_file()
            and file.suffix in kinds
            and not skip & set(parts)
            and not file.name.endswith(".lock")
        ):
            found.append(file)
    return found


MACHINE_PATH = re.compile(r"""(?<![\w.$}])/(?:work|home|root|Users|private|mnt)/[\w.-]+""")


def test_no_file_names_a_path_of_somebodys_machine():
    offences = []
    for file in tracked_text_files():
        if file == Path(__file__).resolve() or file.name == ".git":
            continue
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                offences.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not offences, "\n".join(offences)


def test_files_can_be_read_in_one_sitting():
    offences = []
    for file in tracked_text_files():
        if file.suffix not in {".rs", ".py"}:
            continue
        name, lines = str(file.relative_to(ROOT)), len(file.read_text().splitlines())
        if lines > LONGEST and name not in MAY_BE_LONGER:
            offences.append(
                f"{name}: {lines} lines; look for the second idea in it, or say in MAY_BE_LONGER why not"
            )
    assert not offences, "\n".join(offences)


def test_every_source_file_opens_with_what_it_is():
    offences = []
    for file in sources(CRATES):
        if "fuzz" in file.parts or "benches" in file.parts or "tests" in file.parts:
            continue
        if not file.read_text().lstrip().startswith("//!"):
            offences.append(str(file.relative_to(ROOT)))
    for folder in ("tests", "python", "benches", "soak"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text().lstrip()
            if text and not re.match(r'(#!.*\n)?(#[^\n]*\n)*\s*r?"""', text):
                offences.append(str(file.relative_to(ROOT)))
    assert not offences, "\n".join(offences)


def test_no_test_sleeps_to_pass():
    """`time.sleep` belongs to the polling loop of `eventually` and to peers that wait for others, nowhere else."""
    allowed = {"tests/peers/waiting.py", "tests/repo/test_house_rules.py"}
    offences = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        name = str(file.relative_to(ROOT))
        if name not in allowed and re.search(r"\btime\.sleep\(", file.read_text()):
            offences.append(name)
    assert not offences, "\n".join(offences)


LISTS = {"CHECKLIST.md": 300, "TRAPS.md": 150}
"""The lists in tests/conformance that name tests, and about how many each names."""


def named_tests(text: str) -> list[tuple[str, str]]:
    """The tests that a list names: file and function."""
    found = []
    file = ""
    for path, name in re.findall(r"`([\w/.]*)::(\w+)`", text):
        file = path or file
        found.append((file, name))
    return found


@pytest.mark.parametrize("name", LISTS)
def test_every_test_of_a_list_exists(name: str) -> None:
    named = named_tests((ROOT / "tests" / "conformance" / name).read_text())
    assert len(named) > LISTS[name]
    texts = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    missing = [f"{file}::{test}" for file, test in named if f"def {test}(" not in texts[file]]
    assert not missing
