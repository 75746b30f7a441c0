"""Forms in which a run leaves its folder: pictures as scorers of benchmarks read them, tables, logs of other tools."""
