"""Helpers around sockets: JSON, Z85, monitor messages, and modules that old programs import.

Nothing is imported here; each module is imported by its own name.
"""
