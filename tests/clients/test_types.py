"""mypy and pyright accept the credentials, with azure-core installed and without."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from pages import read_blocks

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WITH, WITHOUT = (HERE / "programs" / f"{word}_azure_core.py" for word in ("with", "without"))
BARE_PACKAGES = (
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "anyio",
    "attr",
    "attrs",
    "frozenlist",
    "idna",
    "multidict",
    "propcache",
    "typing_extensions",
    "yarl",
)
"""The import names of this package's dependencies, and of theirs."""


def locate(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None, package
    assert spec.origin is not None, package
    path = Path(spec.origin)
    return path.parent if path.name == "__init__.py" else path


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Python of an environment with the package and its dependencies alone."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=sys.platform != "win32")
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    for package in (*BARE_PACKAGES, "aiomsi"):
        source = locate(package)
        target = Path(paths["purelib"], source.name)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    return str(Path(paths["scripts"], "python"))


def read_examples() -> list[str]:
    """Return the documentation's examples of the credentials with the Azure SDK."""
    pages = ("README.md", "docs/clients.md")
    blocks = [block.text for page in pages for block in read_blocks(page)]
    return [block for block in blocks if "from azure." in block]


Check = Callable[..., str]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which mypy keeps the types of the packages."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def check(checker: str, cache: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Check:
    """Return a function that returns a strict checker's errors in a program."""
    if checker == "mypy":
        command = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    else:
        # Without npm, these tests are skipped, and mypy's are not.
        modules = request.getfixturevalue("node_modules")
        (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        command = ["node", f"{modules}/pyright/index.js"]
    option = {"mypy": "--python-executable", "pyright": "--pythonpath"}[checker]

    def run(python: str, *programs: str) -> str:
        names = [f"program{number}.py" for number in range(len(programs))]
        for name, program in zip(names, programs, strict=True):
            (tmp_path / name).write_text(program, encoding="utf-8")
        kept = [f"--cache-dir={cache / str(python == sys.executable)}"] * (checker == "mypy")
        done = subprocess.run(
            [*command, *kept, option, python, *names],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=170,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        assert done.stdout, done.stderr
        return "" if done.returncode == 0 else done.stdout

    return run


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest) -> str:
    if request.param == "mypy":
        pytest.importorskip("mypy")
    name: str = request.param
    return name


def test_credentials_have_the_types_of_azure_core(check: Check) -> None:
    pytest.importorskip("azure.core")
    programs = [path.read_text(encoding="utf-8") for path in (WITH, WITHOUT)]
    assert check(sys.executable, *programs) == ""


def test_program_without_azure_core_has_no_errors(check: Check, bare: str) -> None:
    assert check(bare, WITHOUT.read_text(encoding="utf-8")) == ""
    # The environment really is without azure-core.
    assert "azure.core" in check(bare, WITH.read_text(encoding="utf-8"))


def test_examples_of_the_pages_are_accepted(check: Check) -> None:
    pytest.importorskip("azure.mgmt.resource")
    pytest.importorskip("azure.storage.blob")
    examples = read_examples()
    assert len(examples) == 4
    assert check(sys.executable, *examples) == ""


def test_program_with_a_wrong_type_is_refused(check: Check) -> None:
    pytest.importorskip("azure.core")
    program = WITH.read_text(encoding="utf-8")
    wrong = program.replace("choose(credential)", "choose(credential.get_token)")
    assert wrong != program
    assert "AsyncTokenCredential" in check(sys.executable, wrong)


def test_every_public_name_has_a_declared_type(node_modules: Path) -> None:
    pytest.importorskip("azure.core")
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["node", f"{node_modules}/pyright/index.js", "--verifytypes", "aiomsi", "--ignoreexternal"],
        env={**os.environ, "PATH": os.pathsep.join([str(scripts), os.environ["PATH"]])},
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )
    assert "Type completeness score: 100%" in done.stdout, done.stdout[-3_000:]
