"""The driver against a throw-away crate and folder of tests, which fail in every way that it has to tell apart.

PYTEST names a Python that has pytest and xdist."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import driver

HERE = pathlib.Path(__file__).parent

MANIFEST = """
[package]
name = "failing"
edition = "2024"
[workspace]
"""

RUST = r"""
type Result = std::result::Result<(), Box<dyn std::error::Error>>;

/// Whether this is the first time that it is called with that name.
fn first(name: &str) -> bool {
    std::fs::create_dir(std::path::Path::new(&std::env::var_os("STATE").unwrap()).join(name)).is_ok()
}

mod late {
    #[test]
    fn once() -> super::Result {
        if super::first("once") { Err("deadline passed: a \"frame\"")? }
        Ok(())
    }

    #[test]
    fn once_by_panic() {
        assert!(!super::first("once_by_panic"), "deadline passed: a frame");
    }

    #[test]
    fn twice() -> super::Result {
        Err("deadline passed: a frame")?
    }

    #[test]
    fn and_then_wrong() {
        assert!(!super::first("and_then_wrong"), "deadline passed: a frame");
        assert_eq!(1, 2);
    }

    #[test]
    fn with_a_panic_in_another_thread() {
        std::thread::spawn(|| assert_eq!(1, 2)).join().unwrap_err();
        panic!("deadline passed: a frame");
    }

    #[test]
    fn with_a_panic_in_another_process() {
        let prints = ["-c", "for line; do echo \"$line\" >&2; done", "sh"];
        let printed = ["thread 'main' (1) panicked at src/main.rs:1:1:", "an event is lost"];
        assert!(std::process::Command::new("sh").args(prints).args(printed).status().unwrap().success());
        panic!("deadline passed: a frame");
    }
}

mod wrong {
    #[test]
    fn once() {
        assert!(!super::first("wrong"), "an event came twice");
    }

    #[test]
    fn by_error() -> super::Result {
        Err("an event is lost: deadline passed: a frame")?
    }

    #[test]
    fn by_abort() {
        std::process::abort();
    }

    #[test]
    fn by_hanging() {
        std::thread::sleep(std::time::Duration::from_secs(1_000));
    }
}

#[test]
fn right() {}
"""

PYTHON = """
import asyncio, pathlib
import deadlines, pytest
from deadlines import Deadline, soon

def first(name):
    try:
        return pathlib.Path(__file__).with_name(name).mkdir() is None
    except FileExistsError:
        return False

@pytest.mark.parametrize("name", ["late"])
def test_once(name):
    if first("once"):
        asyncio.run(soon("a frame", asyncio.sleep(0.05), 0.01))

def test_twice():
    raise Deadline("a frame")

@pytest.fixture
def broken():
    yield
    raise AssertionError("leaked")

def test_broken(broken):
    raise Deadline("a frame")

def test_wrong():
    assert not first("wrong"), "came twice"

async def refuse():
    await asyncio.sleep(0.05)
    raise ValueError("wrong bytes")

def test_late_and_wrong():
    asyncio.run(soon("a frame", refuse(), 0.01))

def test_lost(monkeypatch):
    monkeypatch.setattr(deadlines, "OVERTIME", 0.05)
    asyncio.run(soon("a frame", asyncio.sleep(9), 0.01))

def test_right():
    pass
"""


class Suite(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def drive(self, *arguments, silence=100):
        """Runs the driver; its verdict: whether all is well, what was slow, and how many runs there were."""
        slow = self.folder / "slow"
        slow.unlink(missing_ok=True)
        environment = os.environ | {"PYTHONPATH": str(HERE), "STATE": str(self.folder), "DRIVER_SILENCE": str(silence)}
        command = [sys.executable, HERE / "driver.py", arguments[0], slow, *arguments[1:]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        self.output = done.stdout + done.stderr
        self.assertIn(done.returncode, (0, 1), self.output)
        return done.returncode == 0, slow.read_text().splitlines() if slow.exists() else [], done.stdout.count("once more")


class Cargo(Suite):
    @classmethod
    def setUpClass(cls):
        cls.crate = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.crate.cleanup)
        crate = pathlib.Path(cls.crate.name)
        (crate / "tests").mkdir()
        (crate / "Cargo.toml").write_text(MANIFEST)
        (crate / "tests/suite.rs").write_text(RUST)
        cls.options = ["--offline", "--no-fail-fast", "--manifest-path", str(crate / "Cargo.toml"), "--target-dir", str(crate / "target")]

    def cargo(self, *names, **options):
        """Runs the tests of these names."""
        return self.drive("cargo", *self.options, "--", "--exact", *names, **options)

    def faulty(self, fault, *names):
        """They fail by that, and nothing is run again."""
        self.assertEqual(self.cargo(*names), (False, [], 0), self.output)
        faults = [line for line in self.output.splitlines() if line.startswith("driver: fault: ")]
        self.assertEqual(faults, [f"driver: fault: --test suite {fault}"], self.output)

    def test_all_is_well(self):
        self.assertEqual(self.cargo("right"), (True, [], 0), self.output)

    def test_late_once_is_slow(self):
        verdict = self.cargo("late::once", "late::once_by_panic", "right")
        slow = ["--test suite late::once: deadline passed: a \\\"frame\\\"", "--test suite late::once_by_panic: deadline passed: a frame"]
        self.assertEqual(verdict, (True, slow, 2), self.output)

    def test_late_twice_fails(self):
        self.assertEqual(self.cargo("late::twice", "right"), (False, [], 1), self.output)

    def test_late_and_then_wrong_fails(self):
        self.assertEqual(self.cargo("late::and_then_wrong"), (False, [], 1), self.output)

    def test_what_is_wrong_fails_though_it_would_pass_then(self):
        self.faulty("wrong::once: an event came twice", "wrong::once", "right")

    def test_something_wrong_beside_something_late_fails(self):
        self.faulty("wrong::by_error: an event is lost: deadline passed: a frame", "late::once", "wrong::by_error")

    def test_a_panic_of_another_thread_or_process_fails(self):
        name = "late::with_a_panic_in_another_thread"
        self.faulty(f"{name}: assertion `left == right` failed", name)
        self.faulty("(no test): panicked: an event is lost", "late::with_a_panic_in_another_process")

    def test_a_binary_that_dies_fails(self):
        self.faulty("(a whole binary): ended without a list of its failures", "late::once", "wrong::by_abort")

    def test_what_hangs_fails(self):
        self.assertEqual(self.cargo("late::once", "wrong::by_hanging", silence=3), (False, [], 0), self.output)
        self.assertIn("driver: fault: cargo test: exit status -9, with 0 tests named", self.output)

    def test_what_is_not_there_to_be_run_fails(self):
        self.assertEqual(self.drive("cargo", *self.options, "--test", "nothing"), (False, [], 0), self.output)

    def test_a_test_that_is_not_found_again_fails(self):
        gone = driver.Failure("gone", "--test suite", "", True)
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertFalse(driver.cargo_again(self.options, gone))


class Pytest(Suite):
    def setUp(self):
        super().setUp()
        (self.folder / "suite").mkdir()
        (self.folder / "suite/pytest.ini").write_text("[pytest]\n")
        (self.folder / "suite/conftest.py").write_text('pytest_plugins = ["deadlines"]')
        (self.folder / "suite/test_suite.py").write_text(PYTHON)

    def test_all(self):
        for names, verdict in {
            "test_right": (True, 0, ""),
            "test_once or test_right": (True, 1, ""),
            "test_twice or test_right": (False, 1, "deadlines.Deadline: deadline passed: a frame; and it failed again, alone"),
            "test_twice or test_wrong": (False, 0, "AssertionError: came twice"),
            "test_broken": (False, 0, "AssertionError: leaked"),
            "test_late_and_wrong": (False, 0, "ValueError: wrong bytes"),
            "test_lost": (False, 0, "AssertionError: a frame: did not come in 0.06"),
            "test_of_no_name": (False, 0, "pytest: exit status 5"),
        }.items():
            with self.subTest(names):
                workers = ["-n", "2"] if " or " in names else []
                options = ["-q", "-p", "no:cacheprovider", *workers, "-k", names]
                well, slow, runs = self.drive("pytest", os.environ["PYTEST"], str(self.folder / "suite"), *options)
                faults = [line for line in self.output.splitlines() if line.startswith("driver: fault: ")]
                self.assertEqual((well, runs, len(slow)), (*verdict[:2], 1 if well and runs else 0), self.output)
                self.assertTrue(all(verdict[2] in fault for fault in faults) and bool(faults) != well, self.output)


if __name__ == "__main__":
    unittest.main()
