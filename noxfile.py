"""The checks of the project.

`nox` runs the default sessions; `nox -s NAME` runs one; `nox -l` lists all of them.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = [
    "lint",
    "typing",
    "tests",
    "minimums",
    "coverage",
    "simulate",
    "mutants",
    "build",
    "docs",
    "browser",
    "crowd",
    "vm",
    "genuine",
    "clients",
    "fuzz",
    "soak",
    "examples",
]

ROOT = Path(__file__).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
OLDEST = PYTHONS[0]
MEASURED = "3.13"
# The Pythons that run the slow tests as well: eager tasks came with 3.12, and from 3.14 on the
# current task is the thread's and not the loop's.
THOROUGH = ("3.11", MEASURED, "3.15")
PROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = ("--constraint", "constraints.txt")
# All tests except those marked `crowd`, on the measured Python; `pytest` alone leaves out the slow
# ones as well, and runs the asynchronous ones on one event loop.
ALL = ("-m", "not crowd")
THOROUGHLY = ("-m", "not crowd and not once")
FAST = ("-m", "not crowd and not once and not slow")
# One worker for each core. All tests of a file run in one worker, because they share fixtures.
PYTEST = ("-m", "pytest", "--numprocesses=auto", "--dist=loadfile")

PLAIN_PYTEST = ("pytest", "pytest-timeout")
MANAGEMENT_CLIENTS = (
    "azure-identity",
    *(f"azure-mgmt-{name}" for name in ("compute", "network", "resource", "storage")),
)
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
TYPED = (
    "src",
    "tests",
    "benchmarks",
    "docs/site_pages.py",
    "docs/errors_page.py",
    "examples",
    "noxfile.py",
)
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")

# Packages, programs and folders without which tests are skipped by name. In CI such a skip is a
# failure (`tests/support/absences.py`), except for those that the session lacks because another
# session has them.
OF_CLIENTS = (
    "AIOMSI_CLIENTS_NODE",
    "AIOMSI_CLIENTS_OLD",
    "adlfs",
    "asyncpg",
    *(f"azure.{name}" for name in ("cosmos", "keyvault", "servicebus", "storage")),
    # The group `test` has azure.mgmt.resource.
    *(f"azure.mgmt.{name}" for name in ("compute", "containerservice", "cosmosdb", "network")),
    *(
        f"azure.mgmt.{name}"
        for name in ("postgresqlflexibleservers", "servicebus", "storage", "web")
    ),
    "msgraph",
    "mypy",
    "openai",
    "redis",
)
OF_EXAMPLES = ("AIOMSI_EXAMPLES",)
OF_BROWSER = ("Chromium", "playwright")
OF_MEASURED = (
    "distributed",
    "duckdb",
    "fsspec",
    "js_lib_tabulator",
    "matplotlib",
    "polars",
    "pyarrow",
    "yaml",
)
OF_NO_SESSION = ("AIOMSI_RECORDED", *(("uvloop",) if sys.platform == "win32" else ()))

built: list[Path] = []


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def wheel(session: nox.Session) -> Path:
    """Build the wheel, once per run of nox; the tests run on the artifact to be published."""
    if not built:
        folder = Path(session.create_tmp()).resolve() / "wheel"
        shutil.rmtree(folder, ignore_errors=True)
        session.run(
            "python",
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--wheel-dir",
            str(folder),
            str(ROOT),
        )
        built.extend(folder.glob("aiomsi-*.whl"))
    return built[0]


def absent(session: nox.Session, reason: str) -> None:
    """Skip a session by name; fail it in CI, which installs everything."""
    if os.environ.get("CI"):
        session.error(f"{reason}, and CI skips nothing")
    session.skip(reason)


def install(session: nox.Session, extras: str, *groups: str) -> None:
    names = [name for each in groups for name in group(each)]
    session.install(f"{wheel(session)}[{extras}]", *names, *CONSTRAINTS)


def lack(session: nox.Session, *names: str) -> None:
    """Let tests skip in CI for want of these, and of those that a single session has."""
    absent = (*OF_CLIENTS, *OF_EXAMPLES, *OF_BROWSER, *OF_NO_SESSION, *names)
    session.env["AIOMSI_ABSENT"] = " ".join(absent)


def measured(session: nox.Session) -> None:
    """Run pytest under coverage, on the installed wheel.

    Coverage takes half as long again, so only one Python is measured. That cannot be 3.11, where a
    thread dies whose tracing begins while that of another thread begins, if an audit hook in Python
    (`tests/support/socket_guard`) lets the two coincide.
    """
    folder = Path(session.create_tmp()).resolve() / "coverage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    env = {"COVERAGE_FILE": str(folder / ".coverage")}
    session.run("python", "-m", "coverage", "run", *PYTEST, *ALL, *session.posargs, env=env)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheel."""
    # The largest packages are installed once, for the Python whose coverage is measured.
    if session.python == MEASURED:
        install(session, "cli,testing,speed,gate,dask,report", "test", "formats")
        lack(session)
        measured(session)
    else:
        install(session, "cli,testing,speed,gate", "test")
        lack(session, *OF_MEASURED)
        chosen = THOROUGHLY if session.python in THOROUGH else FAST
        session.run("python", *PYTEST, *chosen, *session.posargs)


@nox.session(python=OLDEST)
def minimums(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows."""
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    required = [
        *project["dependencies"],
        *extras["testing"],
        *extras["cli"],
        *extras["gate"],
        *group("test"),
    ]
    lowest = [name.replace(">=", "==") for name in required if not name.startswith("aiomsi")]
    session.install(*lowest, str(wheel(session)))
    lack(session, *OF_MEASURED, "uvloop")
    # As `pytest` alone: all others run with the same Python and the newest versions.
    session.run("python", *PYTEST, *session.posargs)


@nox.session(python=OLDEST)
def typing(session: nox.Session) -> None:
    """Check the types, strictly, as each supported Python sees them."""
    install(session, "cli,testing,speed,gate", "typing")
    for version in PYTHONS:
        options = ("--num-workers=auto", "--python-version", version)
        session.run("mypy", *options, *TYPED)
    # The names of the standard library that Windows has, in a separate cache.
    windows = (
        "--platform",
        "win32",
        "--python-version",
        OLDEST,
        "--cache-dir",
        ".mypy_cache/win32",
    )
    session.run("mypy", *windows, "src")


@nox.session(python=OLDEST)
def lint(session: nox.Session) -> None:
    """Check style, format, prose, and the files of GitHub's workflows."""
    session.install(*group("lint"), *CONSTRAINTS)
    session.run("ruff", "check", ".")
    # Windows has another default encoding. Preview mode would change other rules, too.
    session.run("ruff", "check", "--preview", "--select", "PLW1514", ".")
    session.run("ruff", "format", "--check", ".")
    # Separately, because each limit is a rate: good pages must not make up for bad docstrings.
    session.run("python", "tests/project/prose.py", "src")
    session.run("python", "tests/project/prose.py", *PAGES)
    # By the schemas that the package contains, and without a network.
    for schema, files in (
        ("github-workflows", "workflows/*.yml"),
        ("dependabot", "dependabot.yml"),
    ):
        found = sorted(map(str, (ROOT / ".github").glob(files)))
        session.run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *found)
    if sys.platform == "linux":
        session.run("zizmor", "--offline", "--quiet", str(ROOT / ".github"))


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    """Combine the data of the measured test session's workers, and require every branch."""
    session.install(*(name for name in group("test") if name.startswith("coverage")), *CONSTRAINTS)
    folder = ROOT / ".nox" / f"tests-{MEASURED.replace('.', '-')}" / "tmp" / "coverage"
    if not folder.is_dir():
        session.error(f"no coverage data: run 'nox -s tests-{MEASURED} coverage'")
    env = {"COVERAGE_FILE": str(Path(session.create_tmp()).resolve() / ".coverage")}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "combine", "--quiet", "--keep", str(folder), env=env)
    session.run("coverage", "report", env=env)


@nox.session(python=OLDEST)
def build(session: nox.Session) -> None:
    """Build and check sdist, wheel and the bill of materials (SBOM), in the folder `dist`.

    The wheel is installed by itself, so that the SBOM lists it, its three core packages and theirs.
    """
    session.install("build", "check-wheel-contents", "cyclonedx-bom", "twine", *CONSTRAINTS)
    folder = ROOT / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder), str(ROOT), silent=True)
    files = sorted(str(path) for path in folder.iterdir())
    session.run("twine", "check", "--strict", *files)
    (built_wheel,) = (name for name in files if name.endswith(".whl"))
    session.run("check-wheel-contents", built_wheel)
    bare = Path(session.create_tmp()).resolve() / "bare"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(bare))
    python = str(bare / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.run("python", "-m", "pip", "--python", python, "install", built_wheel, *CONSTRAINTS)
    session.run(python, "-W", "error", str(ROOT / "tests" / "bare_install.py"), external=True)
    bill = str(folder / "aiomsi.cdx.json")
    session.run(
        "cyclonedx-py", "environment", "--output-reproducible", "--output-file", bill, python
    )


# The simulations, and how many seeds take less than a minute.
SIMULATIONS = {"flight": ("tests/simulation", 5_000), "pacing": ("tests/pacing_simulation", 2_500)}


def chosen(session: nox.Session) -> tuple[list[tuple[str, int]], list[str]]:
    """Return the simulations that the first option names, by default all, and the other options."""
    first, *others = session.posargs or [""]
    if first in SIMULATIONS:
        return [SIMULATIONS[first]], others
    return list(SIMULATIONS.values()), list(session.posargs)


@nox.session(python=[OLDEST, PYTHONS[-1]])
def simulate(session: nox.Session) -> None:
    """Run the single flight under thousands of schedules and faults, and pacing in as many worlds.

    Options: `nox -s simulate -- --seeds N`, `nox -s simulate -- pacing --seed S`. The session has
    the oldest and the newest Python, because asyncio's tasks differ: eager tasks came with 3.12,
    and from 3.14 on the current task is the thread's and not the loop's.
    """
    install(session, "gate")
    simulations, options = chosen(session)
    for folder, seeds in simulations:
        session.run("python", f"{folder}/run.py", *(options or ["--seeds", str(seeds)]))


@nox.session(python=OLDEST)
def mutants(session: nox.Session) -> None:
    """Put known faults into the cores, one at a time; the simulations must find each of them.

    Options: `nox -s mutants -- pacing`, and parts of names.
    """
    install(session, "gate")
    simulations, options = chosen(session)
    for folder, _ in simulations:
        session.run("python", f"{folder}/mutants.py", *options)


@nox.session(python=OLDEST)
def recorded(session: nox.Session) -> None:
    """Run the nine checks on the recorded ARM traffic in $AIOMSI_RECORDED, and sum them up."""
    folder = os.environ.get("AIOMSI_RECORDED", "")
    if not Path(folder).is_dir() or not folder:
        session.skip("AIOMSI_RECORDED does not name a folder with recorded traffic")
    install(session, "cli,testing,speed,gate", "test")
    lack(session)
    env = {"AIOMSI_RECORDED": str(Path(folder).resolve())}
    session.run("python", "-m", "pytest", *ALL, "tests/recorded", *session.posargs, env=env)


@nox.session(python=OLDEST)
def browser(session: nox.Session) -> None:
    """Open reports in headless Chromium, without a network, and compare their texts.

    With `AIOMSI_SCREENSHOTS=FOLDER` the screenshots are kept.
    """
    if not any(map(shutil.which, BROWSERS)):
        absent(session, f"none of {', '.join(BROWSERS)} is installed")
    install(session, "testing,report", "browser")
    session.run("python", "-m", "pytest", *ALL, "tests/report", *session.posargs)


@nox.session(python=MEASURED)
def docs(session: nox.Session) -> None:
    """Build the documentation as a site, in `.nox/docs-*/tmp/site`; a warning is an error.

    No inventory of another project is downloaded, so that the session needs no network.
    """
    session.install(f"{wheel(session)}[testing,otel]", *group("docs"), *CONSTRAINTS)
    site = Path(session.create_tmp()).resolve() / "site"
    shutil.rmtree(site, ignore_errors=True)
    flags = ("--quiet", "--fail-on-warning", "--keep-going", "--builder", "html")
    session.run("python", "-m", "sphinx", *flags, *session.posargs, str(ROOT / "docs"), str(site))
    session.log(f"open {site / 'index.html'}")


@nox.session(python=OLDEST)
def crowd(session: nox.Session) -> None:
    """Run the tests with hundreds of processes, which share one metadata service and its limits."""
    install(session, "cli,testing,gate", "test")
    lack(session, *OF_MEASURED, "uvloop")
    session.run("python", "-m", "pytest", "-m", "crowd", *session.posargs)


@nox.session(python=OLDEST)
def vm(session: nox.Session) -> None:
    """Run the package with its defaults in a network namespace that looks like an Azure VM."""
    install(session, "cli,testing", "test")
    session.run("python", "tests/vm/enter.py", *session.posargs)


@nox.session(python=OLDEST)
def fuzz(session: nox.Session) -> None:
    """Fuzz the parsers, guided by coverage, for half a minute; prints the cases of each.

    Options: `nox -s fuzz -- --cases 1000000`, and parts of names. atheris has wheels for Linux
    alone.
    """
    if sys.platform != "linux":
        session.skip("atheris has wheels for Linux alone")
    install(session, "testing,speed", "fuzz")
    session.run("python", "tests/fuzz/run.py", *session.posargs)


@nox.session(python=OLDEST)
def soak(session: nox.Session) -> None:
    """Run a web service, fan-outs and inventories for a minute while faults occur.

    Options: `nox -s soak -- --minutes 10`.
    """
    install(session, "testing,speed")
    session.run("python", "tests/stress/soak.py", *session.posargs)


def npm_install(session: nox.Session, folder: Path, **options: Any) -> None:
    """Install the packages of a folder's package.json in the folder, without running scripts."""
    flags = (
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--prefix",
        str(folder),
    )
    session.run("npm", "install", *flags, external=True, silent=True, **options)


@nox.session(python=OLDEST)
def genuine(session: nox.Session) -> None:
    """Run az and Microsoft's clients for Python and Node, unchanged, at the genuine addresses.

    They run in the namespaces of the session `vm`.
    """
    if shutil.which("unshare") is None:
        absent(session, "unshare (of util-linux) is not installed")
    pins = (*CONSTRAINTS, "--constraint", "tests/clients/constraints.txt")
    packages = (f"{wheel(session)}[cli,testing]", *PLAIN_PYTEST, *MANAGEMENT_CLIENTS)
    session.install("--no-compile", *packages, *pins)
    folder = Path(session.create_tmp()).resolve()
    env = {
        "AIOMSI_AZ": str(install_az(session, folder / "az")),
        "AIOMSI_AZURE_PYTHON": str(Path(session.bin, "python")),
    }
    if shutil.which("npm") is not None:
        node = folder / "node"
        shutil.copytree(ROOT / "tests" / "genuine" / "node", node, dirs_exist_ok=True)
        npm_install(session, node)
        env["AIOMSI_AZURE_NODE"] = str(node)
    session.run("python", "tests/genuine/enter.py", *session.posargs, env=env)


def install_az(session: nox.Session, folder: Path) -> Path:
    """Install azure-cli in an environment of its own, and return the path of az.

    A command imports, and so compiles, few of its 13,000 modules.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        session.run("python", "-m", "venv", "--without-pip", str(folder))
    session.run(
        *("python", "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"),
        *("--constraint", "tests/genuine/constraints.txt", "azure-cli"),
    )
    return folder / "bin" / "az"


@nox.session(python=OLDEST)
def conformance(session: nox.Session) -> None:
    """Drive the operations and lists of Microsoft's test server for SDKs, from npm, on Node."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        absent(session, "Node or npm is not installed")
    install(session, "testing")
    folder = Path(session.create_tmp()).resolve() / "server"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "tests" / "conformance" / "package.json", folder)
    npm_install(session, folder)
    server = folder / "node_modules" / "@microsoft.azure" / "autorest.testserver"
    session.run("python", "tests/conformance/run.py", f"--server={server}", *session.posargs)


OLD_AZURE_CORE = ("1.24.0", "1.31.0")
"""A version without `AccessTokenInfo`, and the first one with it."""


@nox.session(python=OLDEST)
def clients(session: nox.Session) -> None:
    """Run clients of the Azure SDK and of others on the credentials, and two type checkers."""
    folder = Path(session.create_tmp()).resolve()
    pins = (*CONSTRAINTS, "--constraint", "tests/clients/constraints.txt")
    # Most of the 23,000 modules are never imported, and to compile them takes half a minute.
    packages = (f"{wheel(session)}[testing]", *group("clients"))
    session.install("--no-compile", *packages, *pins)
    for version in OLD_AZURE_CORE:
        target = folder / "old" / version
        shutil.rmtree(target, ignore_errors=True)
        wanted = (f"azure-core=={version}", "six")
        session.run(
            *("python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)),
            *("--constraint", "tests/clients/constraints.txt", *wanted),
        )
    env = {"AIOMSI_CLIENTS_OLD": str(folder / "old")}
    if shutil.which("npm") is None or shutil.which("node") is None:
        session.warn("Node or npm is not installed, so tests skip Azurite and pyright")
    else:
        node = folder / "node"
        node.mkdir(exist_ok=True)
        shutil.copy(ROOT / "tests" / "clients" / "package.json", node)
        npm_install(session, node)
        env["AIOMSI_CLIENTS_NODE"] = str(node / "node_modules")
    options = session.posargs or [
        "tests/clients",
        "tests/project/test_clients_page.py",
        "tests/testing/test_management_clients.py",
    ]
    session.run("python", "-m", "pytest", *ALL, *options, env=env)


@nox.session(python=OLDEST)
def examples(session: nox.Session) -> None:
    """Start each example by its README's commands in a fresh virtual environment, and load it.

    The tests that need wrk or redis-server are skipped without it; with `CI` set they fail.
    """
    if sys.platform == "win32":
        session.skip("the commands in the READMEs are those of a POSIX shell")
    pins = (*CONSTRAINTS, "--constraint", "tests/runnable_examples/constraints.txt")
    files = sorted((ROOT / "examples").glob("*/requirements.txt"))
    needed = [name for file in files for name in ("-r", str(file))]
    packages = [name for name in group("test") if not name.startswith("azure-")]
    session.install(
        f"{wheel(session)}[testing]", "mypy", "pyyaml", "virtualenv", *packages, *needed, *pins
    )
    folder = Path(session.create_tmp()).resolve() / "environments"
    # As in a user's project: strict, with the packages that the session `typing` does not have.
    checked = ("mypy", "--strict", "--config-file=", f"--cache-dir={folder.parent / 'mypy'}")
    for file in files:
        with session.chdir(file.parent):
            session.run(
                *checked, *(path.name for path in file.parent.glob("*.py") if "." not in path.stem)
            )
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "tests/runnable_examples/install.py", str(folder))
    env = {"AIOMSI_EXAMPLES": str(folder)}
    options = session.posargs or ["tests/runnable_examples"]
    session.run("python", "-m", "pytest", *ALL, *options, env=env)


def node_clients(session: nox.Session) -> Path:
    """Install Microsoft's clients for Node beside a copy of client.mjs.

    Without npm, the report lists the Node client as missing.
    """
    folder = Path(session.create_tmp()).resolve() / "node"
    shutil.copytree(ROOT / "benchmarks" / "clients" / "node", folder, dirs_exist_ok=True)
    if shutil.which("npm") is None:
        session.warn("npm is not installed, so no comparison with Node")
    else:
        npm_install(session, folder, success_codes=range(256))
    return folder


@nox.session(python=OLDEST)
def bench(session: nox.Session) -> None:
    """Compare aiomsi with its alternatives; `nox -s bench -- --quick` takes less than 4 minutes."""
    install(session, "speed,gate")
    session.install("-r", "benchmarks/requirements.txt", *CONSTRAINTS)
    session.run("python", "benchmarks/run.py", f"--node={node_clients(session)}", *session.posargs)


@nox.session(python=OLDEST)
def pages(session: nox.Session) -> None:
    """Measure reports of three sizes in a browser; `-- --picture FILE` draws that of the docs."""
    install(session, "testing,speed,report", "browser")
    session.run("python", "benchmarks/inventory_report.py", *session.posargs)


@nox.session(python=OLDEST)
def micro(session: nox.Session) -> None:
    """Run the micro-benchmarks of single parts; options are pytest-benchmark's."""
    install(session, "speed", "test", "micro")
    session.run("python", "-m", "pytest", "benchmarks/micro", *session.posargs)


if __name__ == "__main__":
    sys.exit("run this with nox")
