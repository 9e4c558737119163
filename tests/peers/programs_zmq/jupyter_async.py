"""Drives a Jupyter kernel with the client for asyncio, and prints what it saw.

Argument: an expression for the kernel to evaluate.
"""

import asyncio
import sys

import zmq
from jupyter_client.manager import AsyncKernelManager

PATIENCE = 30


async def run(client, code, after_output=None):
    """Runs a cell; its reply's status, and what came on iopub until it was idle again."""
    request = client.execute(code)
    outputs = []
    while True:
        message = await client.get_iopub_msg(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") != request:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            outputs.append((content["name"], content["text"]))
            if after_output is not None:
                await after_output()
        elif kind == "execute_result":
            outputs.append(("result", content["data"]["text/plain"]))
        elif kind == "error":
            outputs.append(("error", content["ename"]))
        elif kind == "status" and content["execution_state"] == "idle":
            break
    while True:
        reply = await client.get_shell_msg(timeout=PATIENCE)
        if reply["parent_header"]["msg_id"] == request:
            return reply["content"]["status"], outputs


async def main():
    manager = AsyncKernelManager(kernel_name="python3")
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        print("client", zmq.__name__)
        print("kernel", *(await run(client, f"import zmq; {sys.argv[1]}"))[1])
        print(*await run(client, "print('hello'); 42"))
        print(*await run(client, "raise LookupError('no')"))
        # Two at once: the kernel takes them in turn, and each gets its own answer.
        first, second = client.execute("a = 1"), client.execute("a + 1")
        replies = [await client.get_shell_msg(timeout=PATIENCE) for _ in range(2)]
        print([reply["parent_header"]["msg_id"] for reply in replies] == [first, second])
        endless = "print('going', flush=True)\nwhile True:\n    pass"
        print(*await run(client, endless, manager.interrupt_kernel))
        print(*await run(client, "a + 1"))
        print("beats", await client._async_is_alive())
        await manager.restart_kernel(now=False)
        await client.wait_for_ready(timeout=PATIENCE)
        print(*await run(client, "6 * 7"))
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=False)
    print("alive", await manager.is_alive())


asyncio.run(main())
