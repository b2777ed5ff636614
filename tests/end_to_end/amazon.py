"""Amazon as a box behind a proxy sees it: whom it is asked to connect to, and SNS itself."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

from tests.providers.verizon_sns import HOST, certificate

SNS = HOST.removeprefix("https://")


class Amazon:
    """An HTTP proxy on loopback; behind it is SNS and nothing else.

    `connects` are the hosts that were asked for, `asked` what SNS itself was asked.
    """

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "amazon.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(SNS).configure_cert(context)
        self.connects: list[str] = []
        self.asked: list[str] = []
        amazon = self

        class Proxy(BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                amazon.connects.append(self.path)
                if self.path != f"{SNS}:443":
                    self.send_error(502)
                    return
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                with context.wrap_socket(self.connection, server_side=True) as inside:
                    amazon.answer(inside)
                self.close_connection = True

            def log_message(self, *_words: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, inside: ssl.SSLSocket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (more := inside.recv(65536)):
            head += more
        target = head.split(b" ")[1].decode()
        self.asked.append(target)
        body = (
            certificate()
            if target.endswith(".pem")
            else b"<ConfirmSubscriptionResponse/>"
        )
        inside.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
