"""Inputs of requests: generated, or read from files."""
