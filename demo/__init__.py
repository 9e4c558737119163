"""A guided tour of mqcore on real sockets, threads and processes: `make demo`.

Each file shows one thing and reads on its own; `story.py` is the stage: it starts and stops the other
threads and processes, prints the lines and checks them.
"""
