"""mqcore's engine and libzmq without Python: `python -m benches.native`."""
