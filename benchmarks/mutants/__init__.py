"""Is every guard missed where it is taken out?

    .venv/bin/python -m benchmarks.mutants [PART ...]

Each mutant changes one guard of a copy of the package, and the tests of what it guards are run against that copy, on
SQLite where one database is enough. A mutant that no test notices has *survived*: there is no test of that guard, or it
guards nothing. With words, only some mutants are tried: those of a part (``store``), of a row of the list of threats
(``A1#``), of a file (``tokens.py``), or what a file has besides the rows (``"guard# tokens.py"``). Nothing of the
working copy is touched.
"""
