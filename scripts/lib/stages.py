"""The stages of `make test`, as data: to add one, add a line to STAGES."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import typing

import clients

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLUSTER = "e2e/cluster"
# Without `controls`, and else with the features that the tests are built with.
IMAGE_BINARIES = ("--workspace", "--bins")
# Those of control runs. The tests are built with their libraries, so they are only linked.
CONTROL_BINARIES = (*IMAGE_BINARIES, "--features", "controls")


def always():
    """Ready on every machine."""
    return ""


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of `make test` that has a log of its own."""

    name: str
    needs: str  # for the table, in words
    minutes: tuple  # estimates on 2 cores: (cold, warm)
    steps: tuple  # of commands; the first that fails ends the stage
    after: tuple = ()  # commands that run in any case, at the end
    ready: typing.Callable[[], str] = always  # why it cannot run here, or ""
    packages: typing.Callable[[], tuple] = tuple  # Debian packages
    hang: int = 60  # minutes after which it is ended
    aside: bool = False  # it runs beside those after it, on what they leave of the processors
    last: bool = False  # it waits for those beside


def cargo(*words):
    return ("cargo", *words)


def tests(*words):
    """Of the workspace with one set of features in every stage: nothing is built twice. `controls`
    lets a test switch a protection off; what is shipped is built without it."""
    return cargo("test", "--workspace", "--features", "controls", "--no-fail-fast", *words)


def more(variable, number, *words):
    """The tests with more of what this variable counts; the caller may ask for still more."""
    return ("env", f"{variable}={os.environ.get(variable, number)}", *tests(*words))


def loaded(*which):
    """Writes an image of what is built, and gives it to every node."""
    path = " ".join(("scripts/image", *which, "--path"))
    return (("scripts/image", *which), ("sh", "-c", f'{CLUSTER} load "$({path})"'))


def stories():
    """The files of the e2e stories, one each."""
    found = (ROOT / "e2e" / "tests" / "stories").glob("*.rs")
    return sorted(path for path in found if path.name != "main.rs")


def provider():
    """Which Kubernetes this machine would use: kind or local."""
    done = subprocess.run(
        [ROOT / CLUSTER, "provider"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "none"


def cluster_ready():
    """Why the provider cannot run here, in its own words."""
    done = subprocess.run([ROOT / CLUSTER, "check"], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    bad = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    return "; ".join(" ".join(line.split()[1:]) for line in bad) or done.stderr.strip()


def cluster_packages():
    if provider() != "local":
        return ()
    return tuple((ROOT / "e2e" / "local" / "packages.txt").read_text().split())


def go_ready():
    return "" if shutil.which("go") else "Go is not there"


def integration_tests():
    """The integration tests that need nothing but this workspace; others have a stage each."""
    crates = ("node", "node/core", "client", "cli", "crds", "operator/core", "operator", "tests")
    apart = ("apiserver", "chart", "cluster", "simulation", "soak", "twin")
    found = []
    for crate in crates:
        here = (ROOT / crate / "tests").glob("*")
        files = [t for t in here if t.suffix == ".rs" or (t / "main.rs").exists()]
        found += [t.stem for t in files if t.stem not in apart]
    return [word for name in sorted(found) for word in ("--test", name)]


def workspace_tests():
    """Every test of the workspace that needs no cluster of several nodes and no API server."""
    return (tests("--lib", "--bins", *integration_tests()), tests("--doc"))


# The estimates are for 2 cores; cold is without anything under target and ~/.cache.
ALL = (
    Stage(
        "scripts", "python3", (1, 1),
        steps=(("python3", "-m", "unittest", "discover", "-s", "scripts/tests"),),
    ),
    # What is built once and kept in the cache. Stages that need a part of it wait for that part.
    Stage(
        "tools", "Rust, Go", (0, 0),
        steps=(
            ("scripts/tools", "helm"),
            ("scripts/tools", "cargo-deny"),
            ("env", "ROADSTEAD_E2E_PROVIDER=local", CLUSTER, "build"),
            ("scripts/tools", "crane"),
        ),
        ready=go_ready, packages=cluster_packages, hang=75, aside=True,
    ),
    Stage(
        "check", "Rust, cc, Go, shellcheck", (11, 2),
        steps=(("scripts/check",),), ready=go_ready, packages=lambda: ("shellcheck",),
    ),
    Stage("build", "Rust, cc", (15, 2), steps=(tests("--no-run", "--all-targets"),)),
    # Minutes of both processors, while those after it mostly wait for disks and elections.
    Stage("twin", "Rust, cc", (0, 0), steps=(tests("--test", "twin"),), hang=75, aside=True),
    Stage("unit", "Rust, cc", (8, 6), steps=workspace_tests()),
    Stage(
        "apiserver", "Go", (5, 3),
        # The operator against a real API server, which is built once whatever the provider.
        steps=(
            ("env", "ROADSTEAD_E2E_PROVIDER=local", CLUSTER, "build"),
            ("scripts/tools", "helm"),
            ("python3", "scripts/tests/registry.py"),
            tests("--test", "apiserver", "--test", "chart"),
        ),
        ready=go_ready, packages=cluster_packages,
    ),
    Stage("sim", "Rust, cc", (3, 2), steps=(tests("--test", "simulation"),)),
    Stage("cluster", "Rust, cc", (2, 1), steps=(tests("--test", "cluster"),)),
    Stage(
        "clients", "Rust, Go, npm, mvn, protoc", (4, 3),
        # With the features that the tests are built with, so that nothing is built anew.
        steps=(
            cargo("build", *CONTROL_BINARIES),
            ("python3", "scripts/tests/clients.py"),
            ("python3", "scripts/tests/patterns.py"),
        ),
        ready=go_ready, packages=clients.packages, hang=15,
    ),
    # The load generator itself; `make bench` measures with it.
    Stage(
        "bench", "Go", (1, 0),
        steps=(
            ("go", "-C", "bench", "vet", "./..."), ("go", "-C", "bench", "test", "-v", "./..."),
        ),
        ready=go_ready, hang=10,
    ),
    Stage(
        "e2e", "Docker; or root and Go", (22, 14),
        steps=(
            (CLUSTER, "test"),
            ("scripts/tools", "helm"),
            (CLUSTER, "up", "3"),
            cargo("build", *CONTROL_BINARIES),
            *loaded("--controls"),
            # Last, so that those which are shipped are what stays in target/debug.
            cargo("build", *IMAGE_BINARIES),
            *loaded(),
            tests("--test", "stories", "--no-run"),
            (CLUSTER, "run", *tests("--offline", "--test", "stories")),
        ),
        after=((CLUSTER, "logs", "target/test-logs/e2e"), (CLUSTER, "down")),
        ready=cluster_ready, packages=cluster_packages, hang=90,
    ),
    Stage(
        "promises", "the logs of those above", (0, 0), steps=(("scripts/promises",),), last=True,
    ),
)

# Stories on Kubernetes are a stage as soon as there is one.
STAGES = tuple(stage for stage in ALL if stage.name != "e2e" or stories())

# The same tests with more of everything; the first that runs is the one that builds.
SOAK = (
    Stage(
        "seeds", "Rust, cc", (28, 17),
        steps=(more("ROADSTEAD_SIM_SEEDS", 300, "--test", "simulation"),), hang=180,
    ),
    Stage(
        "kills", "Rust, cc", (10, 8),
        steps=(more("ROADSTEAD_KILLS", 30, "--test", "failover"),),
    ),
    Stage(
        "histories", "Rust, cc", (16, 15),
        steps=(more("ROADSTEAD_CASES", 400_000, "--test", "twin"),), hang=180,
    ),
    Stage(
        "repeats", "Rust, cc", (5, 4),
        steps=10 * (tests("--test", "cluster"),),
    ),
)


def kubernetes():
    """Provider and version of the cluster that is up, or that would be made."""
    done = subprocess.run([ROOT / CLUSTER, "version"], capture_output=True, text=True, check=False)
    return f"{provider()}, Kubernetes {done.stdout.strip() or 'unknown'}"


def missing_packages(stage):
    """The stage's Debian packages that this machine lacks."""
    lacking = []
    for package in stage.packages():
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
            capture_output=True, text=True, check=False,
        )
        if done.stdout != "installed":
            lacking.append(package)
    return lacking


def obstacle(stage):
    """Why the stage cannot run here, or ""."""
    if reason := stage.ready():
        return reason
    if not shutil.which("dpkg-query"):
        return ""
    if (lacking := missing_packages(stage)) and os.geteuid() != 0:
        return f"only root can install: apt-get install {' '.join(lacking)}"
    return ""
