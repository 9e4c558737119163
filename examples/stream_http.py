"""STREAM: a socket that speaks plain tcp, here a web server that answers one request.

Each message of a STREAM is the peer's id and a piece of bytes. An empty piece means that a peer has come or gone; sending
one closes the connection. Where requests may be long, pieces have to be put together.
"""

import threading
import urllib.request

import mqcore as zmq

PAGE = b"<h1>Hello from a ZeroMQ socket</h1>"
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"


def main():
    with zmq.Context() as context, context.socket(zmq.STREAM) as server:
        port = server.bind_to_random_port("tcp://127.0.0.1")
        pages = []
        browser = threading.Thread(
            target=lambda: pages.append(fetch(f"http://127.0.0.1:{port}/hello"))
        )
        browser.start()

        request = {}
        while True:
            peer, piece = server.recv_multipart()
            if not piece:
                print("a connection: a peer has an id of", len(peer), "bytes")
                continue
            request[peer] = request.get(peer, b"") + piece
            if b"\r\n\r\n" in request[peer]:
                break
        print("request:", request[peer].splitlines()[0].decode())
        server.send_multipart([peer, ANSWER % (len(PAGE), PAGE)])
        server.send_multipart([peer, b""])  # closes the connection
        browser.join()
        print("the browser shows:", pages[0].decode())


def fetch(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for this
    with opener.open(url, timeout=10) as page:
        return page.read()


if __name__ == "__main__":
    main()
