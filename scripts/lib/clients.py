"""Builds the clients in examples/clients: sources are copied to target/clients, where they have
the way to proto/ that they have at home; what is downloaded stays in the user's cache."""

import functools
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = ROOT / "examples" / "clients"
BUILDS = ROOT / "target" / "clients"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
DOWNLOADS = CACHE / "roadstead" / "clients"
LIMIT = 300  # s, of one step

# Commands that fail where something is missing, and the Debian packages that bring it. Go is asked
# for by the stage.
PROBES = {
    ("protoc", "--descriptor_set_out=/dev/null", "google/protobuf/any.proto"): (
        "protobuf-compiler", "libprotobuf-dev",
    ),
    ("node", "--version"): ("nodejs",),
    ("npm", "--version"): ("npm",),
    ("javac", "--version"): ("default-jdk-headless",),
    ("mvn", "--version"): ("maven",),
    (sys.executable, "-c", "import ensurepip, venv"): ("python3-venv",),
}


def _works(command):
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@functools.cache
def packages():
    """Debian packages of the tools that are not there."""
    return tuple(p for probe, wanted in PROBES.items() if not _works(probe) for p in wanted)


def _step(folder, *command, **variables):
    print("$", *command, flush=True)
    env = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    subprocess.run(command, cwd=folder, env=env, check=True, timeout=LIMIT)


def _python(folder):
    wanted = (folder / "requirements.txt").read_bytes() + sys.version.encode()
    venv = DOWNLOADS / f"python-{hashlib.sha256(wanted).hexdigest()[:12]}"
    python = venv / "bin" / "python"
    if not (venv / "whole").exists():
        _step(folder, sys.executable, "-m", "venv", "--clear", venv)
        _step(folder, python, "-m", "pip", "install", "-q", "-r", "requirements.txt")
        (venv / "whole").touch()
    _step(folder, "sh", "generate.sh", PATH=f"{venv / 'bin'}:{os.environ['PATH']}")
    return ["env", f"PYTHONPATH={folder / 'stubs'}", python, folder / "main.py"]


def _go(folder):
    caches = {"GOMODCACHE": DOWNLOADS / "go" / "modules", "GOCACHE": DOWNLOADS / "go" / "build"}
    _step(folder, "go", "generate", "./...", **caches)
    _step(folder, "go", "vet", "./...", **caches)
    _step(folder, "go", "build", "-o", "orders", ".", **caches)
    return [folder / "orders"]


def _node(folder):
    _step(folder, "npm", "ci", "--no-audit", "--ignore-scripts", "--cache", DOWNLOADS / "npm")
    return ["node", folder / "main.js"]


def _java(folder):
    _step(folder, "mvn", "-B", "-q", f"-Dmaven.repo.local={DOWNLOADS / 'maven'}", "package")
    return ["java", "-jar", folder / "target" / "orders.jar"]


LANGUAGES = {"python": _python, "go": _go, "node": _node, "java": _java}


def build(language):
    """Builds one client; the command that runs it."""
    folder = BUILDS / language
    products = shutil.ignore_patterns("node_modules", "target", "stubs", "__pycache__", ".venv")
    shutil.copytree(SOURCES / language, folder, dirs_exist_ok=True, ignore=products)
    return [str(word) for word in LANGUAGES[language](folder)]


@functools.cache
def _python_client():
    return build("python")


def python(program):
    """The command that runs a Python program which imports the Python client."""
    env, stubs, interpreter, main = _python_client()
    return [env, f"{stubs}:{pathlib.Path(main).parent}", interpreter, str(program)]
