"""Drives a Jupyter kernel through its whole life with the blocking client, and prints what it saw.

Arguments: an expression for the kernel to evaluate; the transport; as JSON, what to add to the kernel's environment.
"""

import json
import os
import sys
import threading

import zmq
from jupyter_client.manager import KernelManager

EXPRESSION, TRANSPORT, EXTRA = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
PATIENCE = 30


def replies_and_outputs(client, code, after_output=None):
    """Runs a cell; its reply's status, and what came on iopub until it was idle again."""
    request = client.execute(code)
    outputs = []
    while True:
        message = client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            outputs.append((content["name"], content["text"]))
            if after_output is not None:
                after_output()
        elif kind == "execute_result":
            outputs.append(("result", content["data"]["text/plain"]))
        elif kind == "error":
            outputs.append(("error", content["ename"]))
        elif kind == "status" and content["execution_state"] == "idle":
            break
    while True:
        reply = client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"]["msg_id"] == request:
            return reply["content"]["status"], outputs


def main():
    manager = KernelManager(kernel_name="python3", transport=TRANSPORT)
    manager.start_kernel(env={**os.environ, **EXTRA})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
        print("client", zmq.__name__)
        print("kernel", *replies_and_outputs(client, f"import zmq; {EXPRESSION}")[1])
        print(*replies_and_outputs(client, "x = 20\nprint('hello')\n2 * x + 2"))
        print(*replies_and_outputs(client, "1 / 0"))
        info = client.kernel_info(reply=True, timeout=PATIENCE)
        print("language", info["content"]["language_info"]["name"])
        completion = client.complete("import js", 9, reply=True, timeout=PATIENCE)
        print("completes", "json" in completion["content"]["matches"])
        endless = "print('going', flush=True)\nwhile True:\n    pass"
        print(*replies_and_outputs(client, endless, manager.interrupt_kernel))
        print(*replies_and_outputs(client, "x + 1"))
        big = "import os; y = os.urandom(3_000_000).hex(); print(len(y)); print(y)"
        status, outputs = replies_and_outputs(client, big)
        print(status, sum(len(text) for _, text in outputs))
        # Comes by the channel of input, while the cell waits.
        answer = threading.Thread(target=answer_input, args=(client,))
        answer.start()
        request = client.execute("input('name? ').upper()", allow_stdin=True)
        answer.join()
        reply = client.get_shell_msg(timeout=PATIENCE)
        print(reply["parent_header"]["msg_id"] == request, reply["content"]["status"])
        print("beats", client.hb_channel.is_beating())
        manager.restart_kernel(now=False)
        client.wait_for_ready(timeout=PATIENCE)
        print(*replies_and_outputs(client, "x"))
        print(*replies_and_outputs(client, "6 * 7"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=False)
    print("alive", manager.is_alive())
    manager.cleanup_resources()


def answer_input(client):
    message = client.get_stdin_msg(timeout=PATIENCE)
    client.input("somebody" if message["content"]["prompt"] == "name? " else "")


main()
