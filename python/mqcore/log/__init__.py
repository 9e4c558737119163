"""Logging over PUB sockets: `mqcore.log.handlers`; `python -m mqcore.log` shows what is published.

Nothing is imported here.
"""
