"""IU X-Ray: the reader, and the layouts of Open-i and Kaggle."""
