"""Siege, the load generator: pacer (when), loop (what is due), recorder and report (what became of it)."""
