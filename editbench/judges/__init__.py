"""What judges an edited image."""
