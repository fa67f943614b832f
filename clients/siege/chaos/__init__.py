"""Chaos: attacks on a server, a canary beside them, and a check of the invariants that the server must keep."""
