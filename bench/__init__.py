"""Measurements of the server beside what it is compared with; see README.md. Not part of the installed packages."""
