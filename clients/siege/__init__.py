"""`siege`, the load generator: pacer (when), sender (what is due), records and report (what became of it)."""
