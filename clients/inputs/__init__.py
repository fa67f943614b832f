"""What the commands send: made up, or read from files; and which of several inputs is next."""
