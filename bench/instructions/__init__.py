"""Instructions of a request, counted by callgrind, and beside them those of another commit."""
