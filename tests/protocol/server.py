"""A conformance server as a child process: started, spoken to, stopped."""

import json
import os
import pathlib
import re
import selectors
import signal
import subprocess
import tempfile
import time

from deadlines import OVERTIME, within

ROOT = pathlib.Path(__file__).resolve().parents[2]
LISTENING = re.compile(r"listening on (http://(127\.0\.0\.1:\d+))\n")
SETTINGS = "ADDR JWT_SECRET SERVER_KEY STORE BACKPLANE MAX_FRAME ALLOWED_ORIGINS PUSH_KEYS".split()
SERVER_KEY = "a-long-random-server-key-0123456789abcdef"


def command():
    """The server's command line: the binary that env CONFORMANCE names, or the one that cargo builds."""
    if "CONFORMANCE" not in os.environ:
        # Built and not `cargo run`: cargo would not hand the SIGTERM on.
        built = subprocess.run(
            ["cargo", "build", "-q", "-p", "conformance", "--message-format=json"],
            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
        ).stdout
        messages = (json.loads(line) for line in built.splitlines())
        [path] = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "conformance"]
        os.environ["CONFORMANCE"] = path
    return [os.environ["CONFORMANCE"]]


class Server:
    """One process; keyword arguments are its environment."""

    def __init__(self, **settings):
        environment = {k: v for k, v in os.environ.items() if k not in SETTINGS}
        environment |= {"ADDR": "127.0.0.1:0"} | settings
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command(), env=environment, stdout=subprocess.PIPE, stderr=self.log, stdin=subprocess.DEVNULL
        )
        with within("the server says where it listens", 20):
            line = self._first_line(20 + OVERTIME)
        if not (match := LISTENING.fullmatch(line)):
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"printed {line!r} instead of where it listens; standard error: {self.stderr()}")
        self.url, self.host = match.groups()
        self.ws_url = f"ws://{self.host}/ws"

    def _first_line(self, seconds):
        deadline = time.monotonic() + seconds
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0, deadline - time.monotonic())):
                    break
                if not (byte := os.read(self.process.stdout.fileno(), 1)):
                    break
                line += byte
        return line.decode()

    def stderr(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-4000:]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=20):
        """Its exit status and what it printed after the first line."""
        with within("the end after SIGTERM", seconds):
            try:
                status = self.process.wait(seconds + OVERTIME)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                said = f"still running {seconds + OVERTIME} s after SIGTERM; standard error: {self.stderr()}"
                raise AssertionError(said) from None
            rest = self.process.stdout.read().decode()
            self.process.stdout.close()
        return status, rest

    def stop(self):
        """Ends it as the page says: SIGTERM, exit 0 within 20 s, nothing more on standard output."""
        if self.process.stdout.closed:
            return
        self.terminate()
        status, rest = self.wait()
        assert (status, rest) == (0, ""), f"exit {status}, printed {rest!r}; standard error: {self.stderr()}"
