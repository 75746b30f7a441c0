"""Where the results of a report are also sent, if that is wanted: trackers of experiments, each an optional package."""
