"""The image writer: same bytes every time, and every layout that tools look for is in the tar."""

import hashlib
import importlib.machinery
import importlib.util
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS / "lib"))

import oci  # noqa: E402 (it is found by the line above)


def load(name):
    """A script without .py as a module."""
    loader = importlib.machinery.SourceFileLoader(f"script_{name}", str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Folder(unittest.TestCase):
    """Gives each test a folder of its own."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def file(self, name, data=b"data", mode=0o755):
        path = self.folder / name
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)


def entries(data):
    """The entries of a tar, by name, as (header, bytes)."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {
            m.name: (m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar.getmembers()
        }


class Tar(Folder):
    def sample(self):
        return oci.Image(
            tag="local.test/sample:7",
            files=[(self.file("tool"), "usr/bin/tool"), (self.file("b", mode=0o600), "b.txt")],
            texts=[("etc/passwd", "x\n")],
            links=[("usr/bin/alias", "tool")],
            user="65532",
        )

    def test_the_same_files_give_the_same_bytes(self):
        image = self.sample()
        first, second = str(self.folder / "1.tar"), str(self.folder / "2.tar")
        oci.write(image, first)
        for source, _ in image.files:  # as if built again later, by somebody else
            os.utime(source, (time.time() + 60,) * 2)
        image.files.reverse()
        oci.write(image, second)
        self.assertEqual(pathlib.Path(first).read_bytes(), pathlib.Path(second).read_bytes())

    def test_other_files_give_other_bytes(self):
        before = oci.contents(self.sample())
        image = self.sample()
        pathlib.Path(image.files[0][0]).write_bytes(b"changed")
        self.assertNotEqual(before, oci.contents(image))

    def test_every_digest_is_the_digest_of_a_blob(self):
        files = dict(oci.contents(self.sample()))
        for path, data in files.items():
            if path.startswith("blobs/"):
                self.assertEqual(path, "blobs/sha256/" + hashlib.sha256(data).hexdigest())
        [entry] = json.loads(files["index.json"])["manifests"]
        manifest = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
        for part in (entry, manifest["config"], *manifest["layers"]):
            self.assertEqual(len(files["blobs/" + part["digest"].replace(":", "/")]), part["size"])

    def test_docker_and_oci_name_the_same_image(self):
        files = dict(oci.contents(self.sample()))
        [entry] = json.loads(files["index.json"])["manifests"]
        manifest = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
        [docker] = json.loads(files["manifest.json"])
        self.assertEqual(docker["RepoTags"], ["local.test/sample:7"])
        self.assertEqual(
            entry["annotations"]["io.containerd.image.name"], docker["RepoTags"][0]
        )
        digest = manifest["config"]["digest"]
        self.assertEqual(docker["Config"], "blobs/" + digest.replace(":", "/"))
        config = json.loads(files[docker["Config"]])
        self.assertEqual(config["config"]["User"], "65532")
        layer = files[docker["Layers"][0]]
        self.assertEqual(
            config["rootfs"]["diff_ids"], ["sha256:" + hashlib.sha256(layer).hexdigest()]
        )

    def test_the_layer_has_folders_modes_and_links_and_no_trace_of_its_maker(self):
        found = entries(oci.layer(self.sample()))
        self.assertEqual(found["usr/bin/tool"][0].mode, 0o755)
        self.assertEqual(found["b.txt"][0].mode, 0o644)
        self.assertEqual(found["tmp"][0].mode, 0o1777)
        self.assertTrue(found["usr/bin"][0].isdir())
        self.assertEqual(found["usr/bin/alias"][0].linkname, "tool")
        for header, _ in found.values():
            self.assertEqual((header.uid, header.gid, header.mtime), (0, 0, 0))
            self.assertEqual((header.uname, header.gname), ("", ""))


class Roadstead(Folder):
    def test_the_libraries_of_a_binary_are_in_the_image(self):
        script = load("image")
        found = script.closure([sys.executable if os.path.exists(sys.executable) else "/bin/ls"])
        names = {os.path.basename(path) for path in found}
        self.assertIn("libc.so.6", names)
        self.assertTrue([n for n in names if n.startswith("ld-linux")], names)

    def test_a_missing_binary_is_named_with_what_to_do(self):
        done = subprocess.run(
            [SCRIPTS / "image", "--target", self.folder, "--out", self.folder / "x.tar"],
            capture_output=True, text=True, check=False,
        )
        self.assertEqual(done.returncode, 1)
        self.assertIn("roadstead-node", done.stderr)
        self.assertIn("cargo build", done.stderr)
        self.assertFalse((self.folder / "x.tar").exists())

    def test_binaries_go_in_without_symbols_and_the_built_ones_keep_theirs(self):
        built = self.folder / "tool"
        subprocess.run(
            ["cc", "-g", "-x", "c", "-o", built, "-"], input=b"int main(void) { return 7; }",
            check=True,
        )
        before = built.read_bytes()
        copies = self.folder / "copies"
        copies.mkdir()
        [copy] = load("image").stripped([built], copies)
        self.assertEqual(subprocess.run([copy], check=False).returncode, 7)
        self.assertIn(b".debug_info", before)
        self.assertNotIn(b".debug_info", pathlib.Path(copy).read_bytes())
        self.assertEqual(built.read_bytes(), before)

    def test_binaries_of_control_runs_and_of_the_shipped_image_do_not_mix(self):
        script = load("image")
        plain = self.file("plain")
        able = self.file("able", b"an ELF with " + script.SWITCH + b" in it")
        script.suited([plain, plain], controls=False)
        script.suited([plain, able], controls=True)
        with self.assertRaisesRegex(script.Problem, "for control runs: able"):
            script.suited([plain, able], controls=False)
        with self.assertRaisesRegex(script.Problem, "for control runs first"):
            script.suited([plain, plain], controls=True)

    def test_the_image_of_control_runs_has_a_name_and_a_place_of_its_own(self):
        for word in ("--name", "--path"):
            said = [
                subprocess.run([SCRIPTS / "image", word, *more], capture_output=True, check=True)
                for more in ([], ["--controls"])
            ]
            shipped, controls = (done.stdout.decode().strip() for done in said)
            self.assertEqual(controls, "/roadstead-controls".join(shipped.rsplit("/roadstead", 1)))

    def test_it_runs_as_a_plain_user_who_has_a_name(self):
        script = load("image")
        image = script.image(["/bin/ls"], "localhost/roadstead:0")
        self.assertEqual(image.user, "65532")
        self.assertIn(":65532:65532:", dict(image.texts)["etc/passwd"])
        self.assertIn("hosts: files dns", dict(image.texts)["etc/nsswitch.conf"])
        self.assertEqual(image.entrypoint, [])


if __name__ == "__main__":
    unittest.main()
