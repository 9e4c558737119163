"""What each socket type promises, seen from Python."""
