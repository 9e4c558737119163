"""Conversations with real ZeroMQ peers in other processes, and with raw ones."""
