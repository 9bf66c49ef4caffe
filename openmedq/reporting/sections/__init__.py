"""The sections of the report, each a function of the results that yields its blocks; without any it is not shown."""
