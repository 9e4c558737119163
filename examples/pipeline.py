"""A pipeline: work is spread over workers, and their results come together again.

    PUSH ──▶ PULL worker PUSH ──▶ PULL
    (tasks)      (several)      (results)

PUSH gives tasks to the workers in turn. A worker that is busy keeps what waits for it.
"""

import threading

import mqcore as zmq

WORKERS = 3
TASKS = 9


def work(context, tasks_at, results_at, name):
    with context.socket(zmq.PULL) as tasks, context.socket(zmq.PUSH) as results:
        tasks.connect(tasks_at)
        results.connect(results_at)
        results.send_json({"worker": name, "ready": True})
        while (number := tasks.recv_json()) is not None:
            results.send_json({"worker": name, "number": number, "square": number * number})


def main():
    with zmq.Context() as context:
        tasks, results = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        tasks.bind("inproc://tasks")
        results.bind("inproc://results")
        workers = [
            threading.Thread(target=work, args=(context, "inproc://tasks", "inproc://results", n))
            for n in range(WORKERS)
        ]
        for worker in workers:
            worker.start()
        for _ in workers:
            results.recv_json()  # all are connected before the work begins: so they share it evenly
        print(f"{WORKERS} workers are ready")

        for number in range(TASKS):
            tasks.send_json(number)
        done = [results.recv_json() for _ in range(TASKS)]
        print("squares:", *sorted(result["square"] for result in done))
        for name in range(WORKERS):
            count = sum(result["worker"] == name for result in done)
            print(f"worker {name} did {count} of {TASKS} tasks")

        for _ in workers:
            tasks.send_json(None)  # one for each: they end
        for worker in workers:
            worker.join()
        tasks.close()
        results.close()


if __name__ == "__main__":
    main()
