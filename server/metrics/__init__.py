"""What the service tells about itself: recorded once a batch, worked out when scraped."""
