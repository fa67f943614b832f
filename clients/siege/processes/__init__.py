"""Several processes that lay one siege: their parent sends nothing itself, and merges what they counted."""
