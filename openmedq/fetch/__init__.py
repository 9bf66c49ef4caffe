"""Published files of a dataset: from the local data folder, or downloaded from their official hosts.

`manifest` and `download` are stages, `planning` shows what would be downloaded, `fetching` downloads a dataset and
`file` one file, through one HTTP `client`. The card lists a dataset's files; `hosts` asks for what it omits.
"""
