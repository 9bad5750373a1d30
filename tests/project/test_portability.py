"""Names that Windows lacks are used only where the platform is asked for; read from the sources."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import aiomsi
from aiomsi.inventory import Scope
from aiomsi.inventory._formats.places import name_aside
from aiomsi.inventory._parts.folder import PartFolder

HOME = Path(aiomsi.__file__).parent
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "windows.md").read_text(encoding="utf-8")


def split_words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MODULES = split_words("""
    crypt curses fcntl grp nis posix pty pwd readline resource spwd syslog termios tty uvloop
""")
NAMES = {
    "os": split_words("""
        O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE WNOHANG chown
        chroot eventfd fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg
        getpgid getpgrp getsid getuid getxattr killpg lchown memfd_create mkfifo mknod nice openpty
        pidfd_open posix_spawn pread preadv pwrite pwritev register_at_fork sched_getaffinity
        sched_setaffinity sendfile setgid setpgid setsid setuid setxattr statvfs sync uname wait
        wait3 wait4 waitid
    """),
    "signal": split_words("""
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2
        SIGWINCH alarm pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending
        sigtimedwait sigwait sigwaitinfo
    """),
    "socket": split_words("AF_UNIX MSG_DONTWAIT SO_REUSEPORT recv_fds send_fds"),
    "time": split_words("CLOCK_BOOTTIME CLOCK_MONOTONIC clock_gettime tzset"),
    # These exist on Windows alone.
    "asyncio": split_words("WindowsProactorEventLoopPolicy WindowsSelectorEventLoopPolicy"),
    "msvcrt": split_words("get_osfhandle locking setmode"),
}
METHODS = split_words("""
    add_reader add_signal_handler add_writer create_unix_connection create_unix_server
    open_unix_connection remove_reader remove_signal_handler remove_writer start_unix_server
""")
"""Of event loops: those that the proactor loop lacks, whatever the object is called."""
PATHS = ("/dev/", "/proc/", "/tmp")  # noqa: S108 (compared with texts)
GUARDS = frozenset({"sys.platform", "os.name", "os.supports_dir_fd"})
PARAMETERS = frozenset({"platform", "system", "windows"})
MISSING = frozenset({"ImportError", "ModuleNotFoundError", "AttributeError"})


def find_use(node: ast.AST) -> str | None:
    """Return the text of a name that Windows lacks; None for another node."""
    match node:
        case ast.Import():
            found = [alias.name for alias in node.names if alias.name in MODULES]
        case ast.ImportFrom(module=str(module)):
            lacking = NAMES.get(module, frozenset())
            names = [alias.name for alias in node.names if alias.name in lacking]
            found = [module] if module in MODULES else names
        case ast.Attribute(value=ast.Name(id=module), attr=name) if name in NAMES.get(module, ()):
            found = [f"{module}.{name}"]
        case ast.Attribute(attr=name) if name in METHODS:
            found = [name]
        case ast.keyword(arg="dir_fd"):
            found = ["dir_fd="]
        case ast.Constant(value=str(text)) if text.startswith(PATHS):
            found = [text]
        case _:
            found = []
    return found[0] if found else None


def is_guard(node: ast.AST) -> bool:
    """Return whether a node asks for the platform."""
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            return f"{module}.{name}" in GUARDS
        case ast.Name(id=name) | ast.arg(arg=name):
            return name in PARAMETERS
        case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id=module), _]):
            return module in NAMES
        case _:
            return False


def encloses_guard(node: ast.AST) -> bool:
    """Return whether a node guards what it encloses."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If():
            looked_at: ast.AST = node.test if isinstance(node, ast.If) else node
            return any(map(is_guard, ast.walk(looked_at)))
        case ast.Try():
            caught = {
                name.id
                for handler in node.handlers
                if handler.type is not None
                for name in ast.walk(handler.type)
                if isinstance(name, ast.Name)
            }
            return bool(caught & MISSING)
        case _:
            return False


def find_unguarded(node: ast.AST) -> Iterator[str]:
    """Yield the names that Windows lacks, with their lines, in nodes that nothing guards."""
    for child in ast.iter_child_nodes(node):
        use = find_use(child)
        if use is not None:
            yield f"{use}, line {getattr(child, 'lineno', '?')}"
        if not encloses_guard(child):
            yield from find_unguarded(child)


SUSPECT = re.compile(
    "|".join(
        [
            *(rf"\b{module}\.(?:{'|'.join(sorted(names))})\b" for module, names in NAMES.items()),
            rf"\bfrom (?:{'|'.join([*NAMES, *MODULES])})\b",
            rf"\bimport (?:{'|'.join(MODULES)})\b",
            rf"\b(?:{'|'.join(METHODS)}|dir_fd)\b",
            *PATHS,
        ]
    )
)
"""Matches each source with such a name, because it takes seconds to parse all of them."""


def check(source: str) -> list[str]:
    return [*find_unguarded(ast.parse(source))] if SUSPECT.search(source) else []


@pytest.mark.slow
def test_names_that_windows_lacks_are_guarded() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(HOME.rglob("*.py"))}
    assert len(sources) > 100
    found = {str(path.relative_to(HOME)): check(source) for path, source in sources.items()}
    assert {path: uses for path, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    ("source", "use"),
    [
        ("import os\ndef f():\n    os.fork()", "os.fork, line 3"),
        ("import os\nFLAGS = os.O_RDONLY | os.O_NOFOLLOW", "os.O_NOFOLLOW, line 2"),
        ("import fcntl", "fcntl, line 1"),
        ("def f():\n    from resource import getrlimit", "resource, line 2"),
        ("from os import path, geteuid", "geteuid, line 1"),
        ("import signal\nsignal.signal(signal.SIGHUP, f)", "signal.SIGHUP, line 2"),
        ("async def f(loop):\n    loop.add_signal_handler(2, f)", "add_signal_handler, line 2"),
        ("import os\nos.open(a, 0, dir_fd=b)", "dir_fd=, line 2"),
        ("FOLDER = '/tmp/x'", "/tmp/x, line 1"),  # noqa: S108 (a text)
        ("try:\n    import fcntl\nexcept OSError:\n    pass", "fcntl, line 2"),
        ("def f(platform):\n    pass\ndef g():\n    os.getuid()", "os.getuid, line 4"),
        ("import msvcrt\nmsvcrt.locking(1, 2, 3)", "msvcrt.locking, line 2"),
        ("if debug:\n    os.getuid()", "os.getuid, line 2"),
    ],
)
def test_name_without_a_guard_is_found(source: str, use: str) -> None:
    assert check(source) == [use]


@pytest.mark.parametrize(
    "source",
    [
        "def f(platform):\n    if platform != 'win32':\n        os.fork()",
        "def f():\n    return os.getuid() if sys.platform == 'linux' else None",
        "def f(system: str = os.name) -> None:\n    fcntl = import_module('fcntl')\n    os.nice(1)",
        "try:\n    import resource\nexcept ImportError:\n    resource = None",
        "if hasattr(os, 'fork'):\n    os.fork()",
        "FLAG = getattr(os, 'O_NOFOLLOW', 0)",
        "import os, signal\nos.replace(a, b)\nsignal.signal(signal.SIGTERM, f)\nnull = os.devnull",
        "def f():\n    if os.open in os.supports_dir_fd:\n        os.open(a, 0, dir_fd=b)",
    ],
)
def test_name_with_a_guard_is_none(source: str) -> None:
    assert check(source) == []


def find_missing(page: str) -> list[str]:
    """Return the modules and tests that a page names and that do not exist."""
    tests = re.findall(r"`(tests/[\w/]+\.py)`", page)
    modules = re.findall(r"`((?!tests/)[\w/]+\.py)`", page)
    assert tests
    assert modules
    return [
        *(name for name in tests if not (ROOT / name).exists()),
        *(name for name in modules if not (HOME / name).exists()),
    ]


def test_page_names_modules_and_tests_that_exist() -> None:
    assert find_missing(PAGE) == []
    assert find_missing(f"{PAGE} `_util/gone.py` `tests/gone.py`") == [
        "tests/gone.py",
        "_util/gone.py",
    ]


def test_page_has_the_length_of_a_name_of_a_part(tmp_path: Path) -> None:
    kind, length = re.findall(r"the part of `(.*?)` has a name of (\d+) characters", PAGE)[0]
    scope = Scope("00000000-0000-0000-0000-000000000000", "list", kind)
    place = PartFolder(tmp_path)._find_place(scope)
    assert len(name_aside(Path(place.name)).name) == int(length)


def test_ci_runs_the_tests_on_the_systems_of_the_page() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (systems,) = re.findall(r"os: \[(.*)\]", workflow)
    named = re.findall(r"on (windows-\d+) and (macos-\d+)", PAGE)[0]
    assert systems.split(", ")[1:] == [*named]
    # Steps of all systems are commands that PowerShell reads as a POSIX shell does.
    (job,) = re.findall(r"^  tests:\n(.*?)^  \w+:\n", workflow, re.MULTILINE | re.DOTALL)
    steps = [step for step in re.split(r"^      - ", job, flags=re.MULTILINE) if "run:" in step]
    common = [step for step in steps if not step.startswith("if: matrix.os == 'ubuntu")]
    assert len(common) == 2
    assert all(re.fullmatch(r"run: python -m [\w .${}-]+\n\s*(#.*\n)?", step) for step in common)
