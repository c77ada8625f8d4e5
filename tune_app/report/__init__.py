"""The report of a sweep: one HTML page without a network, with charts, pictures and a table of all trials."""
