"""What a run, or two of them, is worth."""
