"""The stamp of logs: it must change with the sources, and with nothing else."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS / "lib"))

import tree  # noqa: E402 (found by the line above)


class Stamps(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.git("init", "-q")
        self.write("lib.rs", "fn one() {}")
        self.write("page.md", "one")
        self.git("add", ".")

    def git(self, *words):
        subprocess.run(["git", *words], cwd=self.root, check=True)

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="utf-8")

    def stamp(self):
        return tree.stamp(self.root)

    def test_a_change_changes_it_and_taking_it_back_does_so_too(self):
        before = self.stamp()
        self.write("lib.rs", "fn two() {}")
        changed = self.stamp()
        self.assertNotEqual(changed, before)
        self.git("add", ".")
        self.assertEqual(self.stamp(), changed, "the same contents, whether git has them or not")
        self.write("lib.rs", "fn one() {}")
        self.assertEqual(self.stamp(), before)

    def test_files_that_come_go_or_are_renamed_change_it(self):
        seen = {self.stamp()}
        self.write("new.rs", "")
        self.git("add", ".")
        seen.add(self.stamp())
        self.git("mv", "new.rs", "other.rs")
        seen.add(self.stamp())
        (self.root / "lib.rs").unlink()
        seen.add(self.stamp())
        self.assertEqual(len(seen), 4)

    def test_pages_and_what_git_does_not_track_are_no_sources(self):
        before = self.stamp()
        self.write("page.md", "two")
        self.write("made", "by a test")
        self.assertEqual(self.stamp(), before)

    def test_a_log_is_of_the_sources_that_its_first_line_names(self):
        log = self.root / "unit.log"
        self.assertFalse(tree.is_of(log, self.stamp()), "there is none")
        self.write("unit.log", f"$ cargo test\n{self.stamp()}\n")
        self.assertFalse(tree.is_of(log, self.stamp()), "the line stands elsewhere")
        self.write("unit.log", f"{self.stamp()}\n$ cargo test\n")
        self.assertTrue(tree.is_of(log, self.stamp()))
        self.write("lib.rs", "fn two() {}")
        self.assertFalse(tree.is_of(log, self.stamp()), "it is of other sources")


if __name__ == "__main__":
    unittest.main()
