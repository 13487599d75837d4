"""An audited log, exported and looked through by somebody else's hands: hashlib, and the layout that the docs give.

Needs nothing but Python. AUDIT names the example's binary."""

import hashlib
import json
import os
import subprocess
import tempfile
import unittest

AUDIT = os.environ["AUDIT"]
ENTRIES = [f"entry {number}: ünïcode “{'x' * number}” \\ \u0001" for number in range(1, 31)]


def run(*arguments, data=None, check=True):
    environment = dict(os.environ, DATA=data or "none")
    done = subprocess.run([AUDIT, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(done.stderr)
    return done


def chain(lines):
    """Follows a chain over raw lines, by bytes alone; yields the number and digest it ends with."""
    head = json.loads(lines[0])
    assert head["audit"] == 1 and head["roomId"] == "ledger", head
    seq, digest = head["after"]["seq"], bytes.fromhex(head["after"]["digest"])
    for line in lines[1:]:
        assert line.startswith(b'{"digest":"') and line[75:85] == b'","frame":' and line.endswith(b"}\n"), line
        frame = line[85:-2]
        seq, digest = seq + 1, hashlib.sha256(digest + frame).digest()
        assert line[11:75].decode() == digest.hex(), f"event {seq}"
        assert json.loads(frame)["seq"] == seq
    assert head["through"] == {"seq": seq, "digest": digest.hex()}
    return f"{seq}:{digest.hex()}"


class Audit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.data = os.path.join(cls.folder.name, "data")
        # In three processes: the chain goes on over restarts.
        for place in range(0, 30, 10):
            run("enter", *ENTRIES[place : place + 10], data=cls.data)
        cls.file = os.path.join(cls.folder.name, "ledger.jsonl")
        cls.anchor = run("export", cls.file, data=cls.data).stdout.strip()
        with open(cls.file, "rb") as file:
            cls.lines = file.readlines()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def verify(self, lines, *anchors):
        path = os.path.join(self.folder.name, f"{self.id()}.jsonl")
        with open(path, "wb") as file:
            file.writelines(lines)
        return run("verify", path, *anchors, check=False)

    def refused(self, lines, words, *anchors):
        done = self.verify(lines, *anchors)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(words, done.stderr)

    def test_the_chain_is_as_the_docs_say(self):
        self.assertEqual(chain(self.lines), self.anchor)
        texts = [json.loads(line)["frame"]["data"]["text"] for line in self.lines[1:]]
        self.assertEqual(texts, ENTRIES)

    def test_a_file_that_nobody_touched_is_verified(self):
        done = self.verify(self.lines, self.anchor, f"0:{'0' * 64}")
        self.assertEqual(done.stdout.splitlines()[1], self.anchor, done.stderr)

    def test_what_was_done_to_a_file_is_named(self):
        lines = self.lines
        altered = lines[7].replace(b"entry 7", b"entry 8")
        self.refused(lines[:7] + [altered] + lines[8:], "event 7 was altered")
        self.refused(lines[:7] + lines[8:], "event 7 was removed or moved")
        self.refused(lines[:7] + [lines[8], lines[7]] + lines[9:], "event 7 was removed or moved")
        self.refused(lines[:8] + lines[7:], "event 7 was inserted or moved")
        self.refused(lines[:-1], "the end was cut off, from event 30 on")
        self.refused(lines[:5] + [b"\n"] + lines[5:], "line 6 holds no event")

    def test_a_chain_that_was_forged_from_an_event_on_is_found_by_the_anchor(self):
        head, forged, digest = json.loads(self.lines[0]), [], bytes(32)
        for line in self.lines[1:]:
            frame = line[85:-2].replace(b"entry 20:", b"entry 99:")
            digest = hashlib.sha256(digest + frame).digest()
            forged.append(b'{"digest":"%s","frame":%s}\n' % (digest.hex().encode(), frame))
        head["through"]["digest"] = digest.hex()
        forged.insert(0, json.dumps(head).encode() + b"\n")
        self.assertEqual(self.verify(forged).returncode, 0, "by itself, it is whole")
        self.refused(forged, "the log up to event 30 is another", self.anchor)

    def test_an_export_goes_on_after_another(self):
        run("enter", "one more", data=self.data)
        path = os.path.join(self.folder.name, "more.jsonl")
        end = run("export", path, self.anchor, data=self.data).stdout.strip()
        with open(path, "rb") as file:
            lines = file.readlines()
        self.assertEqual((chain(lines), len(lines)), (end, 2))
        self.assertEqual(self.verify(lines, self.anchor, end).returncode, 0)


if __name__ == "__main__":
    unittest.main()
