"""What edits an image."""
