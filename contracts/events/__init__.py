"""Every event that may stand on the log, one file a family."""
