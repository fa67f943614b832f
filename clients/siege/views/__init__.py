"""How a siege looks while it goes on."""
