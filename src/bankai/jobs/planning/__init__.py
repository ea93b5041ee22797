"""What a search would take, told before it starts: `plan` puts it together, the others count and time its pieces."""
