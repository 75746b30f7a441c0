"""What the numbers of a run say: plain functions, no files."""
