"""Runs a suite and tells a fault from a slow machine.

    driver.py cargo SLOW ARGUMENTS…                  runs `cargo test ARGUMENTS…`
    driver.py pytest SLOW PYTHON FOLDER OPTIONS…     runs `PYTHON -m pytest FOLDER OPTIONS…`

A test that failed only because something came late (the crate `deadline`, the module `deadlines`) is run once more, alone.
It counts as slow when it passes then: its name and what was late are written to the file SLOW, a line each, and the suite
passes. Every other failure is a fault: the suite fails at once, and nothing is run again. Exits 0 or 1."""

import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

MARKER = "deadline passed: "
# Seconds without a word after which a run hangs. A run of chaos says nothing until its end.
SILENCE = int(os.environ.get("DRIVER_SILENCE", 600)) + int(os.environ.get("DIALOGUE_CHAOS_SECONDS", 0))


@dataclasses.dataclass
class Failure:
    """A failed test. `target` is the option that has cargo run its binary; pytest needs none."""
    name: str
    target: str
    reason: str
    late: bool

    def __str__(self):
        return f"{self.target} {self.name}: {self.reason}".strip()


def main(arguments):
    kind, slow, *arguments = arguments
    failures = {"cargo": cargo, "pytest": pytest}[kind](arguments)
    faults = [failure for failure in failures if not failure.late]
    if faults:
        late = len(failures) - len(faults)
        say(*(f"fault: {fault}" for fault in faults), f"{late} late, not run again" if late else "")
        return 1
    again = {"cargo": cargo_again, "pytest": pytest_again}[kind]
    for failure in failures:
        say(f"late: {failure}", "runs it once more")
        if not again(arguments, failure):
            say(f"fault: {failure}; and it failed again, alone")
            return 1
        say(f"slow: {failure}")
        with open(slow, "a", encoding="utf-8") as file:
            print(failure, file=file)
    return 0


def say(*lines):
    for line in filter(None, lines):
        print(f"driver: {line}", flush=True)


def run(command, **environment):
    """Runs a command whose output is passed on as it comes; its exit status and its output. One that is silent for too long
    hangs, and is killed."""
    process = subprocess.Popen(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output, heard = bytearray(), time.monotonic()
    try:
        while True:
            ended = process.poll() is not None
            if select.select([process.stdout], [], [], 0.2)[0]:
                piece = os.read(process.stdout.fileno(), 1 << 16)
                if not piece:
                    break
                output += piece
                sys.stdout.write(piece.decode(errors="replace"))
                sys.stdout.flush()
                heard = time.monotonic()
            elif ended:
                # Something that it started has its output still.
                break
            elif time.monotonic() - heard > SILENCE:
                say(f"nothing was printed for {SILENCE} s: kills it")
                os.killpg(process.pid, signal.SIGKILL)
                break
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        raise
    finally:
        process.stdout.close()
    return process.wait(), output.decode(errors="replace")


# --- cargo test ---

TARGET = re.compile(r"^     Running .*\n|^   Doc-tests .*\n", re.MULTILINE)
# A binary that dies may leave its line open.
FAILED = re.compile(r"(?:^|^test .* \.\.\. )error: (?:test|doctest) failed, to rerun pass `(?:-p \S+ )?(.*)`$", re.MULTILINE)
SECTION = re.compile(r"^---- (.+) stdout ----\n", re.MULTILINE)
# Another process may print its panic behind a test's name.
PANIC = re.compile(r"^(?:test .* \.\.\. )?thread '.*' (?:\(\d+\) )?panicked at .*:\n(.*)", re.MULTILINE)
ERROR = re.compile(r'^Error: "?(.*?)"?$', re.MULTILINE)


def cargo(arguments):
    """The failures of one `cargo test`, among them those that no test stands for: of a build, or of a whole binary."""
    status, output = run(["cargo", "test", *arguments], CARGO_TERM_COLOR="never")
    if status == 0:
        return []
    failures = []
    for part in TARGET.split(output):
        if failed := FAILED.search(part):
            failures += of_binary(failed[1], part[:failed.start()])
    # Cargo says 101 of tests that failed.
    if status != 101 or not failures:
        failures.append(Failure("cargo test", "", f"exit status {status}, with {len(failures)} tests named", False))
    return failures


def of_binary(target, output):
    """The failures of a test binary that failed, by what it printed."""
    *head, sections, names = ["", *output.split("\nfailures:\n")]
    names = re.findall(r"^    (\S.*)$", names.split("\ntest result: ")[0], re.MULTILINE) if head else []
    counted = re.search(r"^test result: FAILED\. \d+ passed; (\d+) failed;", output, re.MULTILINE)
    if not counted or int(counted[1]) != len(names):
        return [Failure("(a whole binary)", target, "ended without a list of its failures", False)]
    sections = SECTION.split("\n" + sections)[1:]
    sections = dict(zip(sections[::2], sections[1::2]))
    failures = [of_test(target, name, sections.get(name, "")) for name in names]
    # A panic that no test is charged with: of another process that a test started.
    before = "\n".join(head).split("\nsuccesses:\n")[0]
    stray = [reason for reason in PANIC.findall(before) if not reason.startswith(MARKER)]
    return failures + [Failure("(no test)", target, f"panicked: {reason}", False) for reason in stray]


def of_test(target, name, section):
    """A failure by what the test printed: late if all that went wrong in it, in any thread, is that."""
    reasons = PANIC.findall(section) + ERROR.findall(section)
    faults = [reason for reason in reasons if not reason.startswith(MARKER)]
    reason = (faults or reasons or ["no reason is printed"])[0]
    return Failure(name, target, reason, bool(reasons) and not faults)


def cargo_again(arguments, failure):
    """Whether one test passes, alone in its binary. The packages and features stay: nothing is built again."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = without_targets(arguments[:cut])
    only = ["--", failure.name, "--exact", "--test-threads", "1", "--show-output"]
    status, output = run(["cargo", "test", *options, *failure.target.split(), *only], CARGO_TERM_COLOR="never")
    passed = sum(map(int, re.findall(r"^test result: ok\. (\d+) passed;", output, re.MULTILINE)))
    return status == 0 and passed > 0


def without_targets(options):
    rest, options = [], iter(options)
    for option in options:
        if option in ("--test", "--bin", "--example"):
            next(options)
        elif option not in ("--lib", "--bins", "--tests", "--examples", "--doc"):
            rest.append(option)
    return rest


# --- pytest ---

def pytest(arguments):
    """The failures of one run of pytest, among them those that no test stands for."""
    python, folder, *options = arguments
    status, failures = run_pytest(python, folder, options)
    if status != 0 and (status != 1 or not failures):
        failures.append(Failure("pytest", "", f"exit status {status}", False))
    return failures


def run_pytest(python, what, options):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "failures")
        status, _ = run([python, "-m", "pytest", what, *options], DEADLINES_REPORT=report)
        if not os.path.exists(report):
            return status, []
        with open(report, encoding="utf-8") as file:
            told = [json.loads(line) for line in file]
    failures = {}
    for one in told:
        failure = Failure(one["name"], "", one["reason"], one["late"])
        # What a test's set-up and tear-down do is the test's.
        before = failures.setdefault(failure.name, failure)
        if before.late and not failure.late:
            failures[failure.name] = failure
    return status, list(failures.values())


def pytest_again(arguments, failure):
    python, _, *options = arguments
    alone = ["-n", "0"] if "-n" in options else []
    return run_pytest(python, failure.name, [*options, *alone])[0] == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
