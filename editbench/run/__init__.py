"""The run folder: the contract between the phases, and with users' scripts."""
