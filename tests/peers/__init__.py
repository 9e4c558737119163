"""What the suites share: the module under test, peers to talk to (real ones in another process, and raw ones that
speak ZMTP byte by byte), ways to wait, and fixtures. Nothing here judges; the tests do.
"""
