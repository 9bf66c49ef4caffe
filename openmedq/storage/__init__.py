"""Files: whole or not at all, archives checked before they are trusted, pictures decoded once, rows in Parquet."""
