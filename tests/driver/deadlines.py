"""How a test in Python says that something came late, as opposed to not at all: the sibling of the crate `deadline`.

As a plugin of pytest it writes to the file that DEADLINES_REPORT names which tests failed, and whether only by that.
PYTEST_DONT_REWRITE: it is imported before pytest takes it for a plugin."""

import asyncio
import contextlib
import json
import os
from time import monotonic as now

import pytest

# What does not come in this time after its limit is taken for lost.
OVERTIME = 60


class Deadline(Exception):
    """Something came, and too late."""

    def __str__(self):
        return "deadline passed: " + super().__str__()


async def soon(what, awaitable, limit):
    """Waits for what should come within `limit` seconds; raises `Deadline` if it comes late, and fails if it doesn't come."""
    task = asyncio.ensure_future(awaitable)
    began = now()
    try:
        if not (await asyncio.wait({task}, timeout=limit))[0]:
            late = (await asyncio.wait({task}, timeout=OVERTIME))[0]
            assert late, f"{what}: did not come in {limit + OVERTIME} s"
            # What came may be wrong, too, and that is worse.
            task.result()
            took(what, began, limit)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


@contextlib.contextmanager
def within(what, limit):
    """Raises `Deadline` if the block takes longer than `limit` seconds; the block itself gives up after OVERTIME more."""
    began = now()
    yield
    took(what, began, limit)


def took(what, began, limit):
    """Raises `Deadline` if more than `limit` seconds have passed since `began`, by `time.monotonic`."""
    if (time := now() - began) > limit:
        raise Deadline(f"{what}: took {time:.1f} s, the limit is {limit} s")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        # Sent from a worker to who writes the file.
        report.late = call.excinfo is not None and call.excinfo.type is Deadline
        report.reason = call.excinfo.exconly().splitlines()[0] if call.excinfo else "no reason"
        report.name = f"{item.config.rootpath}/{report.nodeid}"
    return report


def pytest_runtest_logreport(report):
    if report.failed:
        tell(getattr(report, "name", report.nodeid), getattr(report, "reason", "crashed"), getattr(report, "late", False))


def pytest_collectreport(report):
    if report.failed:
        tell(report.nodeid, "not collected", False)


def tell(name, reason, late):
    path = os.environ.get("DEADLINES_REPORT")
    # The process that gathers the reports writes, not the workers.
    if path and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(path, "a", encoding="utf-8") as file:
            print(json.dumps({"name": name, "reason": reason, "late": late}), file=file)
