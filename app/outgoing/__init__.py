"""What goes out to addresses: connections, what is said over them, and which may be reached."""
