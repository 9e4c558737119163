"""`python -m mqcore.curve_keygen` prints a new pair of CURVE keys, or the public key of a secret one.

It writes to the terminal only; `mqcore.auth.create_certificates` writes files.
"""

from __future__ import annotations

import argparse
import json
import sys

from mqcore import curve
from mqcore.error import ZMQError


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python3 -m mqcore.curve_keygen",
        description="Prints a pair of CURVE keys, a public and a secret one, as Z85 (printable ASCII).",
    )
    parser.add_argument("--json", action="store_true", help="print the keys as a JSON object")
    parser.add_argument(
        "--secret", metavar="SECRET", help="print this secret key and its public key, not new ones"
    )
    options = parser.parse_args()
    try:
        if options.secret is None:
            public, secret = (key.decode("ascii") for key in curve.curve_keypair())
        else:
            secret = options.secret
            public = curve.curve_public(secret).decode("ascii")
    except (ValueError, ZMQError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    if options.json:
        print(json.dumps({"public": public, "secret": secret}, indent=1, sort_keys=True))
    else:
        print(f"== CURVE PUBLIC KEY ==\n{public}\n\n== CURVE SECRET KEY ==\n{secret}")


if __name__ == "__main__":
    _main()
