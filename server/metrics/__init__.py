"""Metrics of the service: recorded once a batch, worked out when scraped."""
