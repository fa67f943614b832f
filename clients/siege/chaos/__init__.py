"""`siege chaos`: attacks on a server, an innocent client beside them, and whether the server kept its promises."""
