"""Reporters: a report as text, JSON, tables for other tools, and a page."""
