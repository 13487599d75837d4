"""A certificate authority, a browser's push service, and a server that pushes to it."""

import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import queue
import re
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, b64urlencode

from deadlines import OVERTIME, within

pytest_plugins = ["deadlines"]

SERVER_KEY = "a-long-random-server-key-0123456789abcdef"
# The grace in which somebody may come back, and then some.
WAIT = 20


def certificate(folder):
    """A CA's certificate, and one for localhost with its key: three files."""
    def make(name, issuer, issuer_key, key, extensions):
        now = datetime.datetime.now(datetime.timezone.utc)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in (name, issuer)]
        builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=2))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = make("test CA", "test CA", ca_key, ca_key, [x509.BasicConstraints(ca=True, path_length=None)])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    leaf = make("localhost", "test CA", ca_key, key, [names])
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths = [folder / name for name in ("ca.pem", "leaf.pem", "leaf.key")]
    for path, content in zip(paths, (ca, leaf, pem)):
        path.write_bytes(content)
    return paths


class PushService:
    """Takes pushes over TLS; `answers` are the next statuses, 201 when there is none."""

    def __init__(self, tls):
        self.pushes, self.answers = queue.Queue(), queue.Queue()
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.pushes.put((self.path, dict(self.headers.items()), body))
                status = 201 if service.answers.empty() else service.answers.get()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def push(self):
        with within("a push", WAIT):
            return self.pushes.get(timeout=WAIT + OVERTIME)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Http(httpx.Client):
    """Requests that are answered within WAIT."""

    def __init__(self, **options):
        super().__init__(timeout=WAIT + OVERTIME, **options)

    def send(self, request, **options):
        with within(f"an answer to {request.method} {request.url}", WAIT):
            return super().send(request, **options)


class Server:
    """A conformance server that pushes to browsers."""

    def __init__(self, keys):
        environment = os.environ | {"ADDR": "127.0.0.1:0", "SERVER_KEY": SERVER_KEY, "PUSH_KEYS": str(keys)}
        self.process = subprocess.Popen([os.environ["CONFORMANCE"]], env=environment, stdout=subprocess.PIPE)
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            with within("the server says where it listens", WAIT):
                line = self.process.stdout.readline().decode() if selector.select(WAIT + OVERTIME) else ""
        match = re.fullmatch(r"listening on (http://\S+)\n", line)
        assert match, f"printed {line!r}"
        self.http = Http(base_url=match[1], trust_env=False)

    def register(self, subscription, **more):
        body = {"provider": "webpush", "subscription": subscription, "rooms": ["alerts"]} | more
        answer = self.http.post("/push", json=body)
        assert (answer.status_code, answer.json()["type"]) == (200, "ok"), answer.text

    def alert(self, service, detail):
        answer = self.http.post(
            "/rooms/alerts/events/alert",
            json={"service": service, "detail": detail},
            headers={"Authorization": f"Bearer {SERVER_KEY}"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def forgotten(self):
        """How many devices it has forgotten, since they are no more."""
        counts = re.findall(r'^dialogue_pushes_total\{.*"forgotten".*\} (\d+)', self.http.get("/metrics").text, re.MULTILINE)
        return sum(map(int, counts))

    def forgets(self, count):
        gives_up = time.monotonic() + WAIT + OVERTIME
        with within("a device that is forgotten", WAIT):
            while self.forgotten() < count:
                assert time.monotonic() < gives_up, "it is not forgotten"
                time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        with within("the end after SIGTERM", 20):
            assert self.process.wait(20 + OVERTIME) == 0


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tls(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates[1], certificates[2])
    return context


@pytest.fixture(scope="session")
def vapid():
    vapid = Vapid02()
    vapid.generate_keys()
    return vapid


@pytest.fixture(scope="session")
def server(tmp_path_factory, certificates, vapid):
    number = vapid.private_key.private_numbers().private_value.to_bytes(32, "big")
    settings = {
        "vapid": {"privateKey": b64urlencode(number), "subject": "mailto:ops@acme.example", "privateHosts": True},
        "trust": certificates[0].read_text(),
    }
    keys = tmp_path_factory.mktemp("keys") / "push.json"
    keys.write_text(json.dumps(settings))
    server = Server(keys)
    yield server
    server.stop()


@pytest.fixture
def service(tls):
    service = PushService(tls)
    yield service
    service.close()


@pytest.fixture
def before_tls(tls):
    """Puts TLS before a plain service on this machine: `before_tls(port)` is the port to talk to."""
    with contextlib.ExitStack() as stack:
        def wrap(port):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            threading.Thread(target=accept, args=(listener, port), daemon=True).start()
            return listener.getsockname()[1]

        def accept(listener, port):
            with contextlib.suppress(OSError):
                while True:
                    plain, _ = listener.accept()
                    threading.Thread(target=join, args=(plain, port), daemon=True).start()

        def join(plain, port):
            with contextlib.suppress(OSError), tls.wrap_socket(plain, server_side=True) as outer, \
                    socket.create_connection(("localhost", port)) as inner:
                threading.Thread(target=copy, args=(inner, outer), daemon=True).start()
                copy(outer, inner)

        def copy(source, sink):
            with contextlib.suppress(OSError):
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)

        yield wrap
