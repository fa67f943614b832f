"""Schedules: when requests are due."""
