"""The soak: every pattern at once, for minutes, over connections that are delayed, cut and reset,
while servers restart and contexts come and go. Each message is checked.

`python -m soak --seconds 600` plays it and says at the end what every workload sent and lost.

`faults.py` breaks connections, `messages.py` makes messages that prove themselves, `promises.py`
judges what arrived, `flow.py` has the senders and receivers, `workloads/` the scenarios and what
each of them may lose.
"""
