"""`siege chaos`: attacks on a server, a canary beside them, and whether the server kept its promises."""
