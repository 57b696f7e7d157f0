"""Which sources a log speaks of: a log of others says nothing about these."""

import hashlib
import pathlib
import subprocess


def stamp(root):
    """The first line of a log that is made of the files that are in `root` now.

    It names the contents of all files that git tracks, committed or not, but for the pages.
    """
    root = pathlib.Path(root)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    told = hashlib.sha256()
    for name in sorted(name for name in listed if name and not name.endswith(".md")):
        path = root / name
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            continue
        told.update(f"{name}\0{len(content)}\0".encode())
        told.update(content)
    return f"sources {told.hexdigest()[:16]}"


def is_of(path, line):
    """Whether the log `path` is there and begins with this line."""
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            return log.readline().rstrip("\n") == line
    except FileNotFoundError:
        return False
