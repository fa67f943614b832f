"""Engines on a GPU: by themselves, behind the server, under load, over time; and whether they are right."""
