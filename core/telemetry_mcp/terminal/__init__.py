"""What the commands do and how they look in a terminal. Nothing in here is imported before its command runs."""
