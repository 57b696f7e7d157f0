"""The stage runner: what it counts, what it calls failed, and that nothing hangs it."""

import _thread
import importlib.machinery
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(SCRIPTS / "lib"))

import runner  # noqa: E402 (found by the line above, as those below)
import stages  # noqa: E402
from counts import Counts, count  # noqa: E402

CARGO = """\
test kv::tests::order ... ok
test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s
"""
GO = """\
=== RUN   TestA
--- PASS: TestA (0.00s)
    --- PASS: TestA/sub (0.00s)
--- FAIL: TestB (0.00s)
--- SKIP: TestC (0.00s)
ok  \tmodule/package\t0.03s
"""


class Counting(unittest.TestCase):
    def check(self, text, *want):
        self.assertEqual(count(text.splitlines(keepends=True)), Counts(*want))

    def test_cargo(self):
        self.check(CARGO, 14, 1, 1)

    def test_go(self):
        self.check(GO, 1, 1, 1)

    def test_unittest(self):
        self.check("Ran 8 tests in 0.1s\n\nOK\n", 8, 0, 0)
        self.check("Ran 1 test in 0.1s\n\nOK (skipped=1)\n", 0, 0, 1)
        self.check("Ran 9 tests in 1s\n\nFAILED (failures=1, errors=2, skipped=3)\n", 3, 3, 3)

    def test_pytest(self):
        self.check("===== 5 passed, 2 failed, 1 skipped, 4 warnings in 0.12s =====\n", 5, 2, 1)
        self.check("3 passed in 0.12s\n", 3, 0, 0)

    def test_sums_over_programs_and_ignores_the_rest(self):
        self.check("OK\n12 passed without saying so\n" + CARGO + GO, 15, 2, 2)


class Running(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        self.lines = []
        self.runner = runner.Runner(self.root, self.root / "logs", self.lines.append)

    def run_stage(self, *scripts, **more):
        steps = tuple(("sh", "-c", script) for script in scripts)
        return self.runner.stage(stages.Stage("s", "sh", (1, 1), steps, **more))

    def test_a_stage_that_passes_has_its_counts_and_its_log(self):
        result = self.run_stage("echo '3 passed in 0.1s'", "echo '1 passed in 0.1s'")
        self.assertEqual((result.state, result.counts), ("passed", Counts(4)))
        self.assertIn("3 passed", (self.root / "logs" / "s.log").read_text())

    def test_a_log_begins_with_the_line_that_is_given(self):
        of = runner.Runner(self.root, self.root / "logs", self.lines.append, "sources 1")
        of.stage(stages.Stage("s", "sh", (1, 1), (("echo", "done"),)))
        log = (self.root / "logs" / "s.log").read_text()
        self.assertEqual(log, "sources 1\n$ echo done\ndone\n")

    def test_the_first_step_that_fails_ends_the_stage_but_not_what_comes_after(self):
        result = self.run_stage(
            "exit 3", "touch second", after=(("sh", "-c", "touch after"),)
        )
        self.assertEqual((result.state, result.counts.failed), ("failed", 1))
        self.assertIn("exit code 3", result.note)
        self.assertFalse((self.root / "second").exists())
        self.assertTrue((self.root / "after").exists())

    def test_failed_tests_are_not_counted_twice(self):
        result = self.run_stage("echo '1 passed, 2 failed in 0.1s'; exit 1")
        self.assertEqual(result.counts, Counts(1, 2))

    def test_a_failed_test_fails_the_stage_even_if_its_program_says_it_is_well(self):
        self.assertEqual(self.run_stage("echo '2 failed in 0.1s'").state, "failed")

    def test_a_command_that_is_not_there_fails_with_its_name(self):
        stage = stages.Stage("s", "", (1, 1), (("no-such-command",),))
        self.assertIn("no-such-command", self.runner.stage(stage).note)

    def test_a_stage_that_hangs_is_ended_with_its_children(self):
        began = time.monotonic()
        result = self.run_stage("echo $$ >pid; sleep 1000 & sleep 1000", hang=1 / 60)
        self.assertEqual(result.state, "failed")
        self.assertIn("longer than it may", result.note)
        self.assertLess(time.monotonic() - began, 20)
        group = int((self.root / "pid").read_text())
        self.assertGone(group)

    def test_ctrl_c_ends_the_step_and_what_comes_after_still_runs(self):
        # A shell that puts this into the background has Ctrl-C ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        timer = threading.Timer(0.5, _thread.interrupt_main)
        timer.start()
        self.addCleanup(timer.cancel)
        with self.assertRaises(KeyboardInterrupt):
            self.run_stage("echo $$ >pid; sleep 1000", after=(("sh", "-c", "touch after"),))
        self.assertTrue((self.root / "after").exists())
        self.assertGone(int((self.root / "pid").read_text()))

    def test_a_stage_aside_runs_beside_the_others_and_gives_way(self):
        steps = (("sh", "-c", "echo $$ >pid; nice >nice; until [ -e go ]; do sleep 0.05; done"),)
        beside = self.runner.aside(stages.Stage("aside", "sh", (1, 1), steps, aside=True))
        passed = self.run_stage("until [ -s nice ]; do sleep 0.05; done; cat nice; touch go")
        self.assertEqual(passed.state, "passed")
        self.assertEqual(beside.result(timeout=20).state, "passed")
        self.assertEqual((self.root / "nice").read_text(), "19\n")

    def test_what_runs_aside_is_ended_with_the_others(self):
        steps = (("sh", "-c", "echo $$ >pid; sleep 1000"), ("touch", "second"))
        beside = self.runner.aside(stages.Stage("aside", "sh", (1, 1), steps, aside=True))
        end = time.monotonic() + 20
        while not (self.root / "pid").exists() and time.monotonic() < end:
            time.sleep(0.05)
        self.runner.stop()
        self.assertEqual(beside.result(timeout=20).state, "failed")
        self.assertGone(int((self.root / "pid").read_text()))
        self.assertFalse((self.root / "second").exists())

    def assertGone(self, group):
        """A killed process may take a moment to go."""
        end = time.monotonic() + 10
        while self.alive(group) and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.alive(group), [])

    @staticmethod
    def alive(group):
        """Processes of the group that are not just waiting to be collected."""
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, pgrp = path.read_text().rpartition(")")[2].split()[:3]
            except OSError:  # it ended meanwhile
                continue
            if int(pgrp) == group and state != "Z":
                found.append(path.parent.name)
        return found

    def test_it_says_that_it_is_alive(self):
        self.addCleanup(setattr, runner, "BEAT", runner.BEAT)
        runner.BEAT = 0.1
        self.run_stage("sleep 0.5")
        beats = [line for line in self.lines if line.startswith("s: ") and "running" in line]
        self.assertGreaterEqual(len(beats), 2)

    def test_skipped_is_not_passed(self):
        stage = stages.Stage("s", "root", (1, 1), ())
        self.assertEqual(runner.skipped(stage, "no root", False).counts, Counts(skipped=1))
        self.assertEqual(runner.skipped(stage, "no root", True).counts, Counts(failed=1))


def targets():
    """The source of each integration test, by its name."""
    found = {}
    for folder in ("*/tests", "*/*/tests"):
        for path in stages.ROOT.glob(f"{folder}/*"):
            files = [path] if path.suffix == ".rs" else sorted(path.rglob("*.rs"))
            text = "".join(file.read_text() for file in files)
            if path.suffix == ".rs" or (path / "main.rs").exists():
                found[path.stem] = text
    return found


class Table(unittest.TestCase):
    def test_every_target_is_there_and_reads_the_variables_that_it_is_given(self):
        there = targets()
        for stage in (*stages.ALL, *stages.SOAK):
            for step in stage.steps:
                named = [after for word, after in zip(step, step[1:]) if word == "--test"]
                self.assertEqual([name for name in named if name not in there], [], stage.name)
                if stage in stages.SOAK:
                    given = [word.split("=")[0] for word in step if word.startswith("ROADSTEAD_")]
                    for variable in given:
                        self.assertTrue(all(variable in there[name] for name in named), variable)
                    self.assertTrue(named, stage.name)

    def test_a_cold_run_fits_in_its_time(self):
        self.assertLessEqual(sum(stage.minutes[0] for stage in stages.ALL), 75)
        for stage in (*stages.ALL, *stages.SOAK):
            self.assertLessEqual(stage.minutes[1], stage.minutes[0])
            self.assertLess(stage.minutes[0], stage.hang)

    def test_the_table_of_the_long_ones_can_be_listed(self):
        done = subprocess.run(
            [SCRIPTS / "test", "--soak", "--list"], capture_output=True, text=True, check=False,
            env={**os.environ, "ONLY": ""},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        for stage in stages.SOAK:
            self.assertRegex(done.stdout, rf"(?m)^{stage.name} .* \d+ min  yes$")

    def test_more_can_be_had(self):
        self.assertIn("X=3", stages.more("X", 3, "--test", "t"))
        os.environ["X"] = "9"
        self.addCleanup(os.environ.pop, "X")
        self.assertIn("X=9", stages.more("X", 3, "--test", "t"))

    def test_names_are_unique_and_short(self):
        names = [stage.name for stage in (*stages.STAGES, *stages.SOAK)]
        self.assertEqual(len(names), len(set(names)))
        self.assertLessEqual(max(map(len, names)), 9)

    def test_what_needs_more_than_rust_runs_in_one_stage(self):
        steps = {stage.name: stage.steps for stage in stages.STAGES}
        elsewhere = [word for step in steps["unit"] for word in step]
        for target in ("apiserver", "chart"):
            self.assertIn(target, steps["apiserver"][-1])
            self.assertNotIn(target, elsewhere)

    def test_what_is_shipped_is_what_stays_built(self):
        [e2e] = [stage for stage in stages.ALL if stage.name == "e2e"]
        builds = [step for step in e2e.steps if step[:2] == ("cargo", "build")]
        self.assertIn("controls", builds[0])
        self.assertEqual(builds[-1], ("cargo", "build", "--workspace", "--bins"))

    def test_who_waits_for_the_stages_aside_comes_last(self):
        self.assertEqual([stage.name for stage in stages.ALL if stage.last], [stages.ALL[-1].name])
        self.assertFalse([stage.name for stage in stages.ALL if stage.aside and stage.after])

    def test_only_chooses_by_name_and_refuses_what_it_does_not_know(self):
        loader = importlib.machinery.SourceFileLoader("script_test", str(SCRIPTS / "test"))
        script = importlib.util.module_from_spec(
            importlib.util.spec_from_loader(loader.name, loader)
        )
        loader.exec_module(script)
        chosen = [stage.name for stage in script.chosen(stages.STAGES, "unit, scripts")]
        self.assertEqual(chosen, ["scripts", "unit"])
        self.assertEqual(script.chosen(stages.STAGES, ""), list(stages.STAGES))
        with self.assertRaises(SystemExit):
            script.chosen(stages.STAGES, "unit,nothing")


if __name__ == "__main__":
    unittest.main()
