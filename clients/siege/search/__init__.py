"""The highest rate that keeps the objectives."""
