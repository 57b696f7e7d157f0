"""`make push` to a registry on loopback. Needs crane, so it is no part of what discovery finds."""

import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def output(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


class Pushing(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        shutil.copy(ROOT / "Cargo.toml", self.root)
        (self.root / "e2e").mkdir()
        shutil.copy(ROOT / "e2e" / "go.mod", self.root / "e2e")  # it has the version of crane
        self.crane = output(ROOT / "scripts" / "tools", "crane")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{free.getsockname()[1]}"
        registry = subprocess.Popen(
            [self.crane, "registry", "serve", "--address", self.host],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.addCleanup(registry.wait)
        self.addCleanup(registry.kill)
        self.wait()

    def wait(self):
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(tuple(self.host.split(":"))).close()
                return
            except OSError:
                self.assertLess(time.monotonic(), end, "the registry did not start")
                time.sleep(0.05)

    def push(self, to):
        return subprocess.run(
            [self.root / "scripts" / "push", to], capture_output=True, text=True, check=False
        )

    def test_the_image_is_there_under_its_version_or_a_tag(self):
        script = self.root / "scripts" / "image"
        name = f"{self.host}/team/roadstead"
        early = self.push(name)
        self.assertNotEqual(early.returncode, 0)
        self.assertIn("make image", early.stderr)
        output(script, shutil.which("true"))
        version = output(script, "--name").rpartition(":")[2]
        for to, tag in ((name, version), (f"{name}:mine", "mine")):
            done = self.push(to)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(tag, output(self.crane, "ls", name).split())
        digests = {output(self.crane, "digest", f"{name}:{tag}") for tag in (version, "mine")}
        self.assertEqual(digests, {output(self.crane, "digest", "--tarball", self.tar())})

    def tar(self):
        return output(self.root / "scripts" / "image", "--path")

    def test_where_to_has_to_be_said(self):
        for to in ("", "roadstead"):
            done = self.push(to)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("registry", done.stderr)


if __name__ == "__main__":
    unittest.main()
