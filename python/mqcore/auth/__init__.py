"""Who may connect: the authenticators, which answer the questions of ZAP, and files with CURVE keys.

`thread`, `asyncio` and `ioloop` hold authenticators that run by themselves; they are imported by their names.
"""

from mqcore.auth.base import CURVE_ALLOW_ANY, Authenticator
from mqcore.auth.certs import create_certificates, load_certificate, load_certificates

__all__ = [
    "CURVE_ALLOW_ANY",
    "Authenticator",
    "create_certificates",
    "load_certificate",
    "load_certificates",
]
