"""What goes to the server, and when it ends."""
