"""A nano editor and a nano judge, made from nothing: scenes with known truth, training in stages, export."""
